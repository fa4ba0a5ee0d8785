"""Sigmoid focal loss against its formula in Python's floats, the gradient against differences."""

import math

import pytest
import torch

import rankdet.compat
from rankdet.compat import finder

rankdet.compat.install()

import mmcv._ext  # noqa: E402
import mmcv.ops  # noqa: E402

pytestmark = pytest.mark.skipif(
    not isinstance(mmcv._ext.__spec__.loader, finder.ExtensionLoader),
    reason='compiled mmcv has no sigmoid focal loss for the CPU',
)


def slow_loss(x: float, hit: bool, gamma: float, alpha: float) -> float:
    if not hit:
        x, alpha = -x, 1 - alpha
    # log sigmoid(x) and 1 - sigmoid(x), written so that neither overflows nor cancels
    log_p = -math.log1p(math.exp(-x)) if x > 0 else x - math.log1p(math.exp(x))
    q = math.exp(-x) / (1 + math.exp(-x)) if x > 0 else 1 / (1 + math.exp(x))
    return -alpha * q**gamma * log_p


def slow_losses(logits, targets, gamma, alpha, weight=None):
    rows = [
        [slow_loss(x, c == target, gamma, alpha) for c, x in enumerate(row)]
        for row, target in zip(logits.tolist(), targets.tolist())
    ]
    losses = torch.tensor(rows, dtype=torch.float64)
    if weight is None:
        return losses
    factors = [weight[t].item() if t < len(weight) else 1.0 for t in targets]
    return losses * torch.tensor(factors, dtype=torch.float64)[:, None]


def example():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(12, 3, generator=generator, dtype=torch.float64) * 4
    targets = torch.arange(12) % 4  # 3: background
    return logits, targets


@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('alpha', [0.25, 0.9])
@pytest.mark.parametrize('gamma', [0.0, 0.5, 2.0])
def test_value_and_gradient(gamma, alpha, weighted):
    logits, targets = example()
    weight = torch.tensor([0.5, 2.0, 3.0], dtype=torch.float64) if weighted else None
    logits.requires_grad_()
    found = mmcv.ops.sigmoid_focal_loss(logits, targets, gamma, alpha, weight, 'none')
    torch.testing.assert_close(found, slow_losses(logits, targets, gamma, alpha, weight))

    incoming = torch.rand(found.shape, dtype=torch.float64)
    (found_grad,) = torch.autograd.grad(found, logits, incoming)
    step = 1e-5
    up = slow_losses(logits + step, targets, gamma, alpha, weight)
    down = slow_losses(logits - step, targets, gamma, alpha, weight)
    expected_grad = (up - down) / (2 * step) * incoming
    torch.testing.assert_close(found_grad, expected_grad, atol=1e-8, rtol=1e-6)


@pytest.mark.parametrize('reduction', ['mean', 'sum'])
def test_reductions(reduction):
    logits, targets = example()
    loss = mmcv.ops.SigmoidFocalLoss(2.0, 0.25, reduction=reduction)(logits, targets)
    total = slow_losses(logits, targets, 2.0, 0.25).sum()
    torch.testing.assert_close(loss, total / len(logits) if reduction == 'mean' else total)


@pytest.mark.parametrize('gamma', [0.5, 2.0])
def test_extreme_logits(gamma):
    logits = torch.tensor([[-200.0, -30.0, 30.0, 200.0]] * 2).T.contiguous().requires_grad_()
    targets = torch.tensor([0, 1, 0, 1])
    found = mmcv.ops.sigmoid_focal_loss(logits, targets, gamma, 0.25, None, 'none')
    found.sum().backward()
    expected = slow_losses(logits, targets, gamma, 0.25)
    torch.testing.assert_close(found.double(), expected, atol=1e-6, rtol=1e-5)
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
def test_dtypes(dtype):
    logits, targets = example()
    logits = logits.to(dtype).requires_grad_()
    found = mmcv.ops.sigmoid_focal_loss(logits, targets, 2.0, 0.25, None, 'none')
    assert found.dtype == dtype
    expected = slow_losses(logits, targets, 2.0, 0.25)
    tolerance = 2 * torch.finfo(dtype).eps
    torch.testing.assert_close(found.double(), expected, atol=tolerance, rtol=tolerance)


def test_empty_batch():
    logits = torch.zeros(0, 3, requires_grad=True)
    loss = mmcv.ops.sigmoid_focal_loss(
        logits, torch.zeros(0, dtype=torch.long), 2.0, 0.25, None, 'sum'
    )
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.shape == (0, 3)
