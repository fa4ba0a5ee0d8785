"""Smoothed AP against its oracle."""

import numpy as np
import pytest
import torch

from rankdet.functional import _pairs, approx_ap_loss
from tests.reference.approx_ap import approx_ap_loss as reference


def make_scores(seed, n=24):
    generator = torch.Generator().manual_seed(seed)
    scores = 2 * torch.randn(n, generator=generator, dtype=torch.float64)
    targets = torch.randint(-1, 2, (n,), generator=generator)
    return scores, targets


@pytest.mark.parametrize('log_space', [True, False])
@pytest.mark.parametrize('scale', [0.5, 8.0])
@pytest.mark.parametrize('block', [1 << 22, 30])
def test_value_and_gradient(log_space, scale, block, monkeypatch):
    monkeypatch.setattr(_pairs, '_BLOCK', block)
    for seed in range(3):
        scores, targets = make_scores(seed)
        leaf = scores.clone().requires_grad_()
        loss = approx_ap_loss(leaf, targets, scale=scale, log_space=log_space)
        loss.backward()
        value, gradient = reference(scores, targets.tolist(), scale=scale, log_space=log_space)
        assert loss.item() == pytest.approx(value, abs=1e-12)
        np.testing.assert_allclose(leaf.grad, gradient, atol=1e-12)


def test_a_steep_sigmoid_gives_the_exact_ap():
    from sklearn.metrics import average_precision_score

    scores, targets = make_scores(3)
    valid = targets >= 0
    expected = 1 - average_precision_score(targets[valid], scores[valid])
    loss = approx_ap_loss(scores, targets, scale=1e6, log_space=False)
    assert loss.item() == pytest.approx(expected, abs=1e-9)


def test_wrong_options_are_named():
    for name in ('scale', 'eps'):
        with pytest.raises(ValueError, match=f'{name} must be a finite number > 0, got 0'):
            approx_ap_loss(torch.zeros(2), torch.zeros(2), **{name: 0})


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_infinite_scores_are_huge(dtype):
    scores = torch.tensor([1.0, -1.0, 0.0, 2.0, 1.0, -1.0, 0.5], dtype=dtype)
    targets = torch.tensor([1, 1, 1, 0, 0, 0, 0])
    infinite = torch.tensor([True, True, False, False, True, True, False])
    losses, gradients = [], []
    for size in (torch.inf, torch.finfo(torch.float32).max):
        leaf = torch.where(infinite, size * scores, scores).requires_grad_()
        losses.append(approx_ap_loss(leaf, targets))
        losses[-1].backward()
        gradients.append(leaf.grad)
    assert losses[0].isfinite() and losses[0] == losses[1]
    assert gradients[0].isfinite().all() and torch.equal(*gradients)
