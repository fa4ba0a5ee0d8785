"""What only a GPU can show: no synchronisation, capture in a graph, determinism, memory."""

from __future__ import annotations

import warnings
from contextlib import contextmanager

import pytest
import torch

from rankdet.functional import (
    _fused,
    _fused_check,
    alrp_loss,
    ap_loss,
    auc_loss,
    dr_loss,
    use_kernels,
)

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')

CLASSES = 80
LOSSES = {
    'ap': lambda logits, labels, errors: ap_loss(logits, labels, class_indices=True),
    'auc': lambda logits, labels, errors: auc_loss(logits, labels, class_indices=True),
    'alrp': lambda logits, labels, errors: sum(
        alrp_loss(logits, labels, errors, class_indices=True)
    ),
    'dr': lambda logits, labels, errors: dr_loss(
        logits, labels, class_indices=True, image_ids=torch.arange(4, device=logits.device)
    ),
}
every_loss = pytest.mark.parametrize('loss', LOSSES.values(), ids=LOSSES)


def make_batch(rows=20_000, positives=500, dtype=torch.float32, mean=-4.0):
    """Logits ``(4, rows / 4, 80)``, class indices and errors for each row, on the GPU."""
    generator = torch.Generator().manual_seed(positives)
    logits = mean + 1.5 * torch.randn(4, rows // 4, CLASSES, generator=generator)
    labels = torch.full((rows,), CLASSES)
    chosen = torch.randperm(rows, generator=generator)
    labels[chosen[:positives]] = torch.randint(0, CLASSES, (positives,), generator=generator)
    labels[chosen[-rows // 20 :]] = -1
    errors = torch.rand(rows, generator=generator)
    shape = logits.shape[:-1]
    logits = logits.to('cuda', dtype).requires_grad_()
    return logits, labels.view(shape).cuda(), errors.view(shape).cuda().requires_grad_()


@contextmanager
def no_synchronisation():
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode('error')
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


def step(loss, batch):
    """Value and gradients, by kernels."""
    inputs = [x for x in batch if x.requires_grad]
    with use_kernels('triton'):
        value = loss(*batch)
        return value, *torch.autograd.grad(value, inputs, allow_unused=True)


@pytest.mark.parametrize('name', _fused_check.LOSSES)
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
def test_the_trial_finds_no_fault(name, dtype):
    with no_synchronisation():  # it allows itself what it needs
        assert _fused_check.find_fault(name, 'cuda:0', dtype) is None


@every_loss
def test_kernels_are_the_usual_choice(loss, monkeypatch):
    batch = make_batch()
    wanted = step(loss, batch)
    value = loss(*batch)
    names, nodes = [], [value.grad_fn]
    while nodes:
        node = nodes.pop()
        names.append(node.name())
        nodes += [following for following, _ in node.next_functions if following is not None]
    assert any('Deferred' in name for name in names)
    assert value == wanted[0]


@every_loss
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize('mean', [-7.0, -4.0])
def test_equal_plain_torch_at_size(loss, dtype, mean):
    batch = make_batch(rows=100_000, positives=3000, dtype=dtype, mean=mean)
    found = step(loss, batch)
    with use_kernels('torch'):
        value = loss(*batch)
        (wanted,) = torch.autograd.grad(value, batch[:1])
    torch.testing.assert_close(found[0], value, rtol=1e-5, atol=1e-6)
    scale = wanted.abs().max().item()
    unit = torch.finfo(dtype).eps if dtype != torch.float32 else 1e-5
    torch.testing.assert_close(found[1], wanted, rtol=unit, atol=unit * scale)


@every_loss
@pytest.mark.parametrize('positives', [0, 500])
def test_no_host_synchronisation(loss, positives):
    batch = make_batch(positives=positives)
    step(loss, batch)  # compiles
    torch.cuda.synchronize()
    with no_synchronisation():
        step(loss, batch)


@every_loss
def test_a_graph_may_capture_it(loss):
    """Captured on one batch, replayed on others with more and with no positives."""
    batch = make_batch()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step(loss, batch)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step(loss, batch)
    for positives in (500, 4000, 0):
        other = make_batch(positives=positives)
        with torch.no_grad():
            for mine, new in zip(batch, other):
                mine.copy_(new)
        graph.replay()
        for mine, wanted in zip(captured, step(loss, other)):
            if wanted is not None:
                torch.testing.assert_close(mine, wanted, rtol=0, atol=0)


@every_loss
@pytest.mark.parametrize('mean', [-7.0, -4.0])
def test_results_do_not_depend_on_the_run(loss, mean):
    batch = make_batch(rows=100_000, positives=3000, mean=mean)
    torch.use_deterministic_algorithms(True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            runs = [step(loss, batch) for _ in range(5)]
    finally:
        torch.use_deterministic_algorithms(False)
    for other in runs[1:]:
        for mine, first in zip(other, runs[0]):
            if first is not None:
                torch.testing.assert_close(mine, first, rtol=0, atol=0)


def test_many_counted_positives_in_a_run_that_must_not_matter(monkeypatch):
    """They are sorted and summed by torch, which refuses some of its sums there."""
    monkeypatch.setattr(_fused, '_MANY_POSITIVES', 0)
    logits, labels, _ = make_batch(rows=4000)
    targets = torch.nn.functional.one_hot(labels.clamp(min=0), CLASSES + 1)[..., :CLASSES]
    torch.use_deterministic_algorithms(True)
    try:
        with use_kernels('triton'):
            runs = [torch.autograd.grad(ap_loss(logits, targets), logits)[0] for _ in range(3)]
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(other.equal(runs[0]) for other in runs[1:])


@pytest.mark.parametrize('name', LOSSES)
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float32])
def test_memory_is_the_gradient_and_a_tenth(name, dtype):
    """The gradient of the errors counts as one, for whoever asks for it.

    Bytes as they were asked for: the allocator rounds the blocks that it gives up to 2 MiB.
    """
    batch = make_batch(rows=200_000, positives=1500, dtype=dtype)
    if name != 'alrp':
        batch[2].requires_grad_(False)
    step(LOSSES[name], batch)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_stats()['requested_bytes.all.current']
    step(LOSSES[name], batch)
    extra = torch.cuda.memory_stats()['requested_bytes.all.peak'] - before
    gradients = [x for x in batch if x.requires_grad]
    assert extra <= 1.1 * sum(x.numel() * x.element_size() for x in gradients)


def test_another_device_than_the_current_one():
    if torch.cuda.device_count() < 2:
        pytest.skip('needs two GPUs')
    batch = make_batch()
    wanted = step(LOSSES['alrp'], batch)
    found = step(
        LOSSES['alrp'], [x.detach().to('cuda:1').requires_grad_(x.requires_grad) for x in batch]
    )
    for mine, other in zip(found, wanted):
        torch.testing.assert_close(mine.cpu(), other.cpu(), rtol=0, atol=0)
