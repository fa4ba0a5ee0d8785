"""What the host would wait for in a loss by the kernels, listed without a GPU.

Tensors are fake ones that say they are on a GPU: all branches are those of a GPU, kernels are not
launched, and an operation whose size or value only the device knows raises an error. Copies from
memory of the host are listed, see tests/host_waits.py.
"""

import contextlib

import pytest
import torch
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)

from rankdet.functional import _fused, _fused_dr
from rankdet.kernels import dr, ranking
from tests.host_waits import HostWaits

ROWS, CLASSES = 48, 20
FOUND_OUT = DataDependentOutputException, DynamicOutputShapeException


@pytest.fixture
def fake_gpu(monkeypatch):
    """Tensors on a GPU that is not there; the operations that the host would wait for."""
    for module in (ranking, dr):
        monkeypatch.setattr(module, 'launch', lambda *arguments, **sizes: None)
    for module in (_fused, _fused_dr):
        monkeypatch.setattr(module, 'on_device', lambda logits: contextlib.nullcontext())
    with FakeTensorMode():
        try:
            torch.empty(3, device='cuda')[:1]
        except RuntimeError:
            pytest.skip('needs a GPU: this torch asks for its driver to take a slice')
        with HostWaits() as waits:
            yield waits


def make_batch(dtype=torch.float32, of_errors='row', classes=CLASSES, label=torch.int64):
    options = dict(device='cuda')
    logits = torch.empty(4, ROWS // 4, classes, dtype=dtype, **options)
    labels = torch.empty(4, ROWS // 4, dtype=label, **options)
    shape = labels.shape if of_errors == 'row' else logits.shape
    return logits, labels, torch.empty(shape, **options)


def rank(rule, logits, labels, errors, class_indices=True, by_row=True):
    """Both passes, with all that is torch's in them."""
    errors = errors if rule == 'alrp' else None
    value, _, _, *state = _fused._rank(logits, labels, errors, rule, 1.0, '', class_indices, by_row)
    gradient = _fused._write_gradient(logits, labels, value, class_indices, by_row, *state)
    assert gradient.shape == logits.shape and gradient.dtype == logits.dtype
    assert value.device.type == gradient.device.type == 'cuda'


@pytest.mark.parametrize('rule', ranking.RULES)
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('of_errors', ['row', 'score'])
def test_a_ranking_waits_for_nothing(fake_gpu, rule, dtype, of_errors):
    rank(rule, *make_batch(dtype, of_errors))
    assert fake_gpu.found == []


@pytest.mark.parametrize('image_ids', [True, False])
def test_neither_does_dr_loss(fake_gpu, image_ids):
    logits, labels, _ = make_batch()
    ids = torch.arange(4, device='cuda') if image_ids else None
    options = True, 1.0, 0.08
    value, *state = _fused_dr._rank(logits, labels, ids, *options, 'logistic', 6.0, 0.5, 0.5)
    gradient = _fused_dr._write_gradient(logits, labels, value, *options, *state)
    assert gradient.shape == logits.shape
    assert fake_gpu.found == []


@pytest.mark.parametrize('class_indices', [True, False])
def test_counting_the_positives_is_found_out(fake_gpu, class_indices):
    """With dense targets, or one error a positive, the host asks for their number."""
    logits, labels, errors = make_batch()
    labels = labels if class_indices else torch.empty_like(logits, dtype=torch.int64)
    with pytest.raises(FOUND_OUT):
        rank('ap', logits, labels, errors, class_indices, by_row=False)


def test_copies_from_the_host_are_found_out(fake_gpu):
    torch.tensor([1.0], device='cuda'), torch.empty(3, device='cuda').new_tensor([2.0])
    assert fake_gpu.found == ['lift_fresh'] * 2


def test_the_few_rows_of_a_head_are_bounded():
    """A million rows of one class, as an RPN has them, or one for every 16 logits."""
    few = 1 << 20
    for rows, classes, bounded in ((few, 1, True), (few * 4, 80, True), (few * 4, 16, True),
                                   (few + 1, 1, False), (few * 4, 15, False)):  # fmt: skip
        logits = torch.empty(rows, classes, device='meta')
        labels = torch.empty(rows, dtype=torch.int64, device='meta')
        errors = torch.empty(rows, device='meta')
        assert _fused._is_bounded(logits, labels, errors, True) == bounded
        assert not _fused._is_bounded(logits, labels, errors[:7], True)
