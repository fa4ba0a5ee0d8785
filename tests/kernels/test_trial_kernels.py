"""Before kernels are trusted on a GPU they are tried there; here the CPU passes for one."""

from __future__ import annotations

import re
import warnings

import pytest
import torch

from rankdet.functional import _backend, _fused_check, alrp_loss, ap_loss, dr_loss, use_kernels
from rankdet.kernels import dr, ranking
from tests.kernels.both import DEVICE

LOGITS = torch.tensor([[0.5, -1.0], [2.0, 0.25], [0.0, 1.0]], device=DEVICE)
LABELS = torch.tensor([0, 2, 1], device=DEVICE)
SMALL = [(4, 5, 5), (4, 23, 0)]


@pytest.fixture(autouse=True)
def as_if_new(monkeypatch):
    """A process that tried no kernel yet, on a CPU that counts as GPU; small trials."""
    monkeypatch.setattr(_backend, '_tried', {})
    monkeypatch.setattr(_backend, '_warned', set())
    monkeypatch.setattr(_backend, '_on_gpu', lambda logits: True)
    monkeypatch.setattr(_fused_check, '_SHAPES', SMALL)


def ap(logits):
    return ap_loss(logits, LABELS, class_indices=True)


def gradient(loss, logits=LOGITS):
    logits = logits.clone().requires_grad_()
    (found,) = torch.autograd.grad(loss(logits), logits)
    return found


def by_kernels(loss):
    return 'Deferred' in type(loss(LOGITS.clone().requires_grad_()).grad_fn).__name__


@pytest.mark.parametrize('name', _fused_check.LOSSES)
def test_working_kernels_are_taken_without_a_word(name):
    for dtype in (torch.float32, torch.bfloat16):
        assert _fused_check.find_fault(name, DEVICE, dtype) is None


def test_the_trial_takes_several_blocks_at_full_size(monkeypatch):
    monkeypatch.undo()
    assert _fused_check.find_fault('alrp', DEVICE, torch.float16) is None
    assert all(i * p * max(c, 1) > ranking._PASS for i, p, c in _fused_check._SHAPES)


def test_the_trial_is_made_once_for_each_loss_device_and_dtype(monkeypatch):
    calls = []
    monkeypatch.setattr(_fused_check, 'find_fault', lambda *args: calls.append(args))
    for logits in (LOGITS, LOGITS, LOGITS.half(), LOGITS):
        assert by_kernels(ap)
        ap(logits)
    dr_loss(LOGITS.repeat(1, 8), torch.zeros_like(LOGITS.repeat(1, 8)))
    device = str(LOGITS.device)
    assert calls == [
        ('interpolated_ap', device, torch.float32),
        ('interpolated_ap', device, torch.float16),
        ('dr', device, torch.float32),
    ]


def test_who_wants_plain_torch_pays_for_no_trial(monkeypatch):
    monkeypatch.setattr(_fused_check, 'find_fault', pytest.fail)
    with use_kernels('torch'):
        assert not by_kernels(ap)


def scaled(function):
    return lambda *args, **options: function(*args, **options) * (1 + 1e-3)


def raises(*args, **options):
    raise RuntimeError('Failed to find C compiler.\nPlease specify one.')


def poisoned(*args, **options):
    value, state = dr_rank(*args, **options)
    return value * float('nan'), state


dr_rank = dr.rank_few
BREAKS = [
    (
        ranking,
        'gradient',
        scaled(ranking.gradient),
        'their gradient was .* away from .* allowed, on logits',
    ),
    (ranking, 'launch', raises, 'they raised RuntimeError: Failed to find C compiler\\.$'),
]


@pytest.mark.parametrize('module, name, broken, reason', BREAKS, ids=['wrong', 'raises'])
def test_broken_kernels_are_left_alone_with_one_warning(module, name, broken, reason, monkeypatch):
    with use_kernels('torch'):
        wanted = gradient(ap)
    monkeypatch.setattr(module, name, broken)
    with pytest.warns(RuntimeWarning, match='plain torch computes the loss, since in a trial of'):
        found = gradient(ap)
    assert found.equal(wanted) and not by_kernels(ap)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        gradient(ap)
    with use_kernels('triton'), pytest.raises(RuntimeError, match='fused kernels were asked for'):
        ap(LOGITS)
    (fault,) = _backend._tried.values()
    assert re.search(reason, fault), fault


def test_a_value_that_is_not_a_number_is_a_fault(monkeypatch):
    monkeypatch.setattr(dr, 'rank_few', poisoned)
    assert 'their value was nan away' in _fused_check.find_fault('dr', DEVICE, torch.float32)


def test_a_wrong_gradient_by_errors_is_a_fault(monkeypatch):
    rank = ranking.rank

    def broken(*args, **options):
        ranked = rank(*args, **options)
        return ranked._replace(weights=ranked.weights * 1.01)

    monkeypatch.setattr(ranking, 'rank', broken)
    fault = _fused_check.find_fault('alrp', DEVICE, torch.float32)
    assert 'their value was' in fault or 'their gradient by errors was' in fault


def test_forced_kernels_are_tried_first(monkeypatch):
    monkeypatch.setattr(ranking, 'launch', raises)
    message = "in a trial of the 'alrp' kernels .* RuntimeError: Failed to find C compiler"
    with use_kernels('triton'), pytest.raises(RuntimeError, match=message):
        alrp_loss(LOGITS, LABELS, torch.rand(3, device=DEVICE), class_indices=True)
    with pytest.warns(RuntimeWarning):  # a failure under force is still news under auto
        alrp_loss(LOGITS, LABELS, torch.rand(3, device=DEVICE), class_indices=True)


def test_processes_that_rank_together_do_not_part(monkeypatch):
    from rankdet.functional import _fused

    monkeypatch.setattr(ranking, 'launch', raises)
    monkeypatch.setattr(_fused, 'group_name', lambda scope: 'some')
    with (
        pytest.warns(RuntimeWarning),
        pytest.raises(RuntimeError, match='RANKDET_KERNELS=torch for all of them'),
    ):
        ap_loss(LOGITS, LABELS, class_indices=True, scope='global')


def test_an_interrupted_trial_decides_nothing(monkeypatch):
    def no_memory(*args, **options):
        raise torch.OutOfMemoryError

    with monkeypatch.context() as patch:
        patch.setattr(ranking, 'launch', no_memory)
        with pytest.raises(torch.OutOfMemoryError):
            ap(LOGITS)
    assert not _backend._tried and by_kernels(ap)


def test_no_trial_while_a_graph_is_captured(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_current_stream_capturing', lambda: True)
    monkeypatch.setattr(_fused_check, 'find_fault', pytest.fail)
    with pytest.raises(RuntimeError, match=r'captured in a CUDA graph.*compute it once before'):
        _backend._try_kernels('dr', 'cuda:0', torch.float32, True)
    _backend._tried['dr', 'cuda:0', torch.float32] = None
    assert _backend._try_kernels('dr', 'cuda:0', torch.float32, True) is None


def test_the_trial_leaves_no_trace():
    generator = torch.get_rng_state()
    with torch.inference_mode(), torch.autocast('cpu', dtype=torch.bfloat16):
        assert _fused_check.find_fault('dr', DEVICE, torch.float32) is None
        assert torch.is_inference_mode_enabled() and torch.is_autocast_enabled('cpu')
    assert torch.get_rng_state().equal(generator)


def test_a_compiled_loss_is_tried_as_well():
    torch._dynamo.reset()
    wanted = gradient(ap)
    _backend._tried.clear()
    torch.testing.assert_close(
        gradient(torch.compile(ap, backend='aot_eager', fullgraph=True)), wanted
    )
    assert list(_backend._tried.values()) == [None]
