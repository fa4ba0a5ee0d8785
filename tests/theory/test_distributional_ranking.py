"""The statements of the DR loss paper."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from rankdet.functional import dr_loss

P_NEG = np.array([0.05, 0.2, 0.21, 0.4, 0.55, 0.9])
P_POS = np.array([0.1, 0.45, 0.5, 0.8])


def logit(p):
    return torch.from_numpy(np.log(p) - np.log1p(-p))


def solve(p, weight, original):
    """argmax over the simplex of <q, p> - weight * KL(q || original), by a general solver."""

    def objective(q):
        q = np.maximum(q, 1e-15)
        return -(q @ p) + weight * (q @ np.log(q / original))

    def slope(q):
        return -p + weight * (np.log(np.maximum(q, 1e-15) / original) + 1)

    result = minimize(
        objective, original, jac=slope, method='SLSQP', bounds=[(0, 1)] * len(p),
        constraints=dict(type='eq', fun=lambda q: q.sum() - 1, jac=np.ones_like),
        options=dict(maxiter=1000, ftol=1e-15),
    )  # fmt: skip
    assert result.success
    return result.x


def distribution(p, target, weight, **options):
    """q, from the gradient of a mean <q, p>: q_j (1 + (p_j - mean) / weight), signs apart.

    With the hinge and margin 1 the loss of negatives alone is their mean P-, that of positives
    alone is 1 - P+.
    """
    scores = logit(p).requires_grad_()
    targets = torch.full((len(p),), target)
    loss = dr_loss(scores, targets, surrogate='hinge', margin=1, tau=1, **options)
    loss.backward()
    slope = scores.grad.numpy() / (p * (1 - p))
    if target == 1:
        return slope / ((p - (1 - loss.item())) / weight - 1)
    return slope / ((p - loss.item()) / weight + 1)


@pytest.mark.parametrize('weight', [0.05, 0.1 / math.log(3.5), 0.3, 2.0])
def test_proposition_1_distribution_of_negatives(weight):
    expected = solve(P_NEG, weight, np.full(6, 1 / 6))
    found = distribution(P_NEG, 0, weight, neg_lambda=weight)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize('weight', [0.1, 1 / math.log(5.5), 1.0])
def test_proposition_2_distribution_of_positives(weight):
    expected = solve(-P_POS, weight, np.full(4, 1 / 4))
    found = distribution(P_POS, 1, weight, pos_lambda=weight)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_proposition_1_with_hard_negative_mining():
    of_hardest = solve(P_NEG[-3:], 0.1, np.full(3, 1 / 3))  # P_NEG ascends
    found = distribution(P_NEG, 0, 0.1, neg_lambda=0.1, neg_ratio=3)
    np.testing.assert_allclose(found, [0, 0, 0, *of_hardest], atol=1e-5)


@pytest.mark.parametrize(('pos_lambda', 'neg_lambda'), [(1.0, 0.1 / math.log(3.5)), (0.3, 0.5)])
def test_appendix_a_gradient(pos_lambda, neg_lambda):
    p_neg, p_pos, smoothness, margin = torch.tensor(P_NEG), torch.tensor(P_POS), 6.0, 0.5
    scores = torch.cat([logit(P_NEG), logit(P_POS)]).requires_grad_()
    targets = torch.tensor([0] * 6 + [1] * 4)
    dr_loss(scores, targets, pos_lambda=pos_lambda, neg_lambda=neg_lambda, tau=1.0).backward()

    q_neg = (p_neg / neg_lambda).softmax(0)
    q_pos = (-p_pos / pos_lambda).softmax(0)
    mean_neg, mean_pos = q_neg @ p_neg, q_pos @ p_pos
    outer = 1 / (1 + torch.exp(-smoothness * (mean_neg - mean_pos + margin)))
    of_neg = outer * q_neg * (1 + p_neg / neg_lambda - mean_neg / neg_lambda)
    of_pos = outer * q_pos * (-1 + p_pos / pos_lambda - mean_pos / pos_lambda)
    p = torch.cat([p_neg, p_pos])
    torch.testing.assert_close(scores.grad, torch.cat([of_neg, of_pos]) * p * (1 - p))


@pytest.mark.parametrize('margin', [0.2, 0.5, 0.7])
def test_theorem_2_a_margin_between_scores_bounds_them(margin):
    """Corollary 1 is margin 0.5: positives and negatives part at p = 0.5."""
    scores = torch.tensor([-1.0, -0.2, 0.4, 0.0, 0.7, 1.2, -0.3], requires_grad=True)
    targets = torch.tensor([1, 1, 1, 0, 0, 0, 0])
    optimizer = torch.optim.SGD([scores], lr=2.0)
    for _ in range(3000):
        optimizer.zero_grad()
        loss = dr_loss(scores, targets, margin=margin, surrogate='hinge', pairing='all')
        if loss == 0:
            break
        loss.backward()
        optimizer.step()
    assert loss == 0  # the premise: p+ - p- >= margin for all pairs
    p = scores.detach().sigmoid()
    assert (p[targets == 1] > margin).all()
    assert (p[targets == 0] <= 1 - margin).all()


def test_corollary_1_holds_after_training_with_dr_loss():
    scores = torch.zeros(40)
    scores[::3] += 1
    scores.requires_grad_()
    targets = (torch.arange(40) < 8).long()
    optimizer = torch.optim.SGD([scores], lr=5.0)
    for _ in range(400):
        optimizer.zero_grad()
        dr_loss(scores, targets).backward()
        optimizer.step()
    assert torch.equal(scores > 0, targets == 1)
