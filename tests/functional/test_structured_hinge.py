"""Loss-augmented inference against all rankings."""

import numpy as np
import pytest
import torch

from rankdet.functional import structured_hinge_ap_loss
from tests.reference.structured_hinge import structured_hinge_ap_loss as reference


def run(scores, targets):
    leaf = scores.clone().requires_grad_()
    loss = structured_hinge_ap_loss(leaf, targets)
    loss.backward()
    return loss.detach(), leaf.grad


@pytest.mark.parametrize('spread', [0.3, 1.0, 3.0])
def test_it_is_the_maximum_over_all_rankings(spread):
    generator = torch.Generator().manual_seed(0)
    for case in range(12):
        scores = spread * torch.randn(6, generator=generator, dtype=torch.float64)
        targets = torch.tensor([1, 0, -1, 1, 1, 1, 0, 0])[torch.randperm(6, generator=generator)]
        targets[:2] = torch.tensor([0, 1])
        loss, grad = run(scores, targets)
        value, gradient = reference(scores, targets.tolist())
        assert loss.item() == pytest.approx(value, abs=1e-13), case
        np.testing.assert_allclose(grad, gradient, atol=1e-13)


def by_enumeration(scores, targets):
    """Each negative placed on its own, all places tried: exact, as the places never cross."""
    pos = scores[targets == 1].sort(descending=True).values
    neg = scores[targets == 0].sort(descending=True).values
    k = torch.arange(1, len(pos) + 1, dtype=torch.float64)
    total = 0.0
    for j, s in enumerate(neg, start=1):
        gain = (k / (k + j - 1) - k / (k + j) - 2 * (pos - s) / len(neg)) / len(pos)
        total += max(0.0, gain.flip(0).cumsum(0).max().item())
    return total


@pytest.mark.parametrize(('num_pos', 'num_neg'), [(1, 200), (200, 1), (37, 300), (200, 200)])
def test_larger_lists(num_pos, num_neg):
    generator = torch.Generator().manual_seed(num_pos)
    scores = 40 * torch.randn(num_pos + num_neg, generator=generator, dtype=torch.float64)
    targets = (torch.arange(num_pos + num_neg) < num_pos).long()
    scores[targets == 1] += 60
    loss, grad = run(scores, targets)
    assert loss.item() == pytest.approx(by_enumeration(scores, targets), rel=1e-12)
    assert grad.sum().abs() < 1e-12
    assert 0 < grad.count_nonzero() < len(grad)


def test_it_bounds_the_ap_loss():
    from sklearn.metrics import average_precision_score

    generator = torch.Generator().manual_seed(1)
    for _ in range(10):
        scores = torch.randn(40, generator=generator)
        targets = (torch.rand(40, generator=generator) < 0.3).long()
        bound = structured_hinge_ap_loss(scores, targets).item()
        assert bound >= 1 - average_precision_score(targets, scores)


def test_it_is_convex():
    generator = torch.Generator().manual_seed(2)
    targets = (torch.arange(30) < 8).long()
    a, b = 20 * torch.randn(2, 30, generator=generator, dtype=torch.float64)
    for t in (0.2, 0.5, 0.9):
        chord = t * run(a, targets)[0] + (1 - t) * run(b, targets)[0]
        assert run(t * a + (1 - t) * b, targets)[0] <= chord + 1e-12


@pytest.mark.parametrize('target', [0, 1, -1])
def test_one_kind_alone_is_a_connected_zero(target):
    loss, grad = run(torch.randn(5), torch.full((5,), target))
    assert loss == 0 and grad.eq(0).all()


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_infinite_scores_are_huge(dtype):
    scores = torch.tensor([1.0, -1.0, 0.0, 2.0, 1.0, -1.0, 0.5], dtype=dtype)
    targets = torch.tensor([1, 1, 1, 0, 0, 0, 0])
    infinite = torch.tensor([True, True, False, False, True, True, False])
    losses, gradients = [], []
    for size in (torch.inf, torch.finfo(torch.float32).max):
        leaf = torch.where(infinite, size * scores, scores).requires_grad_()
        losses.append(structured_hinge_ap_loss(leaf, targets))
        losses[-1].backward()
        gradients.append(leaf.grad)
    assert losses[0].isfinite() and losses[0] == losses[1]
    assert gradients[0].isfinite().all() and torch.equal(*gradients)
