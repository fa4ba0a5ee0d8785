"""What the AP Loss paper proves about its algorithm, run (supplementary, Sections 1 to 3)."""

import math

import pytest
import torch

from rankdet.functional import ap_loss, approx_ap_loss, error_driven_loss


def exact_update(scores, targets):
    """The loss and sum_j L_ij, sum_i L_ij of Eq. 2: Heaviside step, no 1/|P|."""
    scores = scores.clone().requires_grad_()
    loss = ap_loss(scores, targets, delta=0.0, interpolated=False)
    loss.backward()
    return loss.item(), scores.grad * (targets == 1).sum()


@pytest.mark.parametrize('seed', range(3))
def test_proposition_1_separable_data_is_learned_in_finite_steps(seed):
    generator = torch.Generator().manual_seed(seed)
    best = torch.randn(4, generator=generator, dtype=torch.float64)
    samples, epsilon, widest = [], math.inf, 0.0
    for _ in range(5):
        features = torch.randn(12, 4, generator=generator, dtype=torch.float64)
        projection = features @ best
        targets = (projection > projection.sort().values[8]).long()
        samples.append((features, targets))
        pos, neg = features[targets == 1], features[targets == 0]
        epsilon = min(epsilon, ((pos @ best).min() - (neg @ best).max()).item())  # Eq. 1
        widest = max(widest, torch.cdist(pos, neg).max().item())
    assert epsilon > 0
    c = epsilon / (12 * best.norm().item())  # Eq. 6
    big_c = 3 * 9 * widest**2  # Eq. 7: |P| |N| max |f_i - f_j|^2

    theta = torch.zeros(4, dtype=torch.float64)
    step, is_wrong = 0, True
    while is_wrong:
        is_wrong = False
        for features, targets in samples:
            loss, gradient = exact_update(features @ theta, targets)
            if loss > 0:
                is_wrong = True
                theta = theta - features.T @ gradient
                step += 1
                assert c * step <= theta.norm() + 1e-12  # Eq. 6
                assert theta.square().sum() <= big_c * step + 1e-12  # Eq. 8
        assert step <= big_c / c**2  # Eq. 10
    for features, targets in samples:
        scores = features @ theta
        assert scores[targets == 1].min() > scores[targets == 0].max()


# Supplementary 2: a negative and two positives, separable wherever 0 < theta_1 < theta_2 / 3.
FEATURES = torch.tensor([[0.0, 0.0], [1.0, 0.0], [-3.0, 1.0]], dtype=torch.float64)
TARGETS = torch.tensor([0, 1, 1])
START = (6.0, 3.0)


def test_smoothed_ap_of_the_example_is_eq_14():
    a, b = START
    up, down, cross = (1 / (1 + math.exp(x)) for x in (a, b - 3 * a, b - 4 * a))
    back = 1 / (1 + math.exp(4 * a - b))
    expected = (up / (1 + up + back) + down / (1 + cross + down)) / 2
    scores = FEATURES @ torch.tensor(START, dtype=torch.float64)
    assert approx_ap_loss(scores, TARGETS, log_space=False).item() == pytest.approx(expected)


def test_gradient_descent_on_smoothed_ap_ends_at_one_sixth():
    theta = torch.tensor(START, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([theta], lr=10.0)
    for _ in range(300):
        optimizer.zero_grad()
        loss = approx_ap_loss(FEATURES @ theta, TARGETS, log_space=False)
        loss.backward()
        assert theta[0] > theta[1] > 0
        assert theta.grad[0] < theta.grad[1] < 0  # Eq. 15
        optimizer.step()
    assert loss.item() == pytest.approx(1 / 6, abs=1e-3)
    scores = FEATURES @ theta
    assert scores[2] < scores[0]  # still ranked wrongly


@pytest.mark.parametrize('delta', [0.0, 1.0])
@pytest.mark.parametrize('interpolated', [False, True])
def test_the_error_driven_update_reaches_zero_from_the_same_start(delta, interpolated):
    theta = torch.tensor(START, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([theta], lr=1.0)
    for _ in range(100):
        optimizer.zero_grad()
        loss = ap_loss(FEATURES @ theta, TARGETS, delta=delta, interpolated=interpolated)
        loss.backward()
        optimizer.step()
    assert loss == 0


def test_accumulated_loss_on_inseparable_data_is_bounded():
    """Eq. 19, 26 and 27: the step smoothed in the numerator only, learning rate delta / R^2."""
    generator = torch.Generator().manual_seed(0)
    delta, rounds, dim = 0.5, 300, 3
    ideal = torch.tensor([3.0, -1.0, 2.0], dtype=torch.float64)
    batches, radius = [], 0.0
    for _ in range(rounds):
        features = torch.randn(14, dim, generator=generator, dtype=torch.float64)
        noise = torch.randn(14, generator=generator, dtype=torch.float64)
        order = (features @ ideal + noise).argsort(descending=True)
        pos, neg = features[order[:4]], features[order[4:]]
        pairs = neg[None] - pos[:, None]  # dX_ij / dtheta
        batches.append((pos, neg, pairs))
        radius = max(radius, torch.linalg.matrix_norm(pairs.reshape(-1, dim), 2).item())

    def denominators(theta, pos, neg):
        """1 + sum_k H(x_ik) over all others, by the Heaviside step."""
        scores = torch.cat([pos, neg]) @ theta
        return (scores[None, :] >= (pos @ theta)[:, None]).sum(1).double()

    def smooth(x):
        return (x / (2 * delta) + 0.5).clamp(0, 1)

    def area(x):
        """Q, the integral of the smoothed step (Eq. 18)."""
        return (x.clamp(-delta, delta) + delta) ** 2 / (4 * delta) + (x - delta).clamp(min=0)

    def surrogate(theta, pairs, ranks):
        return (area(pairs @ theta).sum(1) / ranks).mean()

    theta = start = torch.zeros(dim, dtype=torch.float64)
    losses, surrogates, all_ranks = [], [], []
    for pos, neg, pairs in batches:
        ranks = denominators(theta, pos, neg)
        features = torch.cat([pos, neg])
        scores, targets = (features @ theta).requires_grad_(), torch.tensor([1] * 4 + [0] * 10)
        losses.append(ap_loss(scores.detach(), targets, delta=0.0, interpolated=False))
        surrogates.append(surrogate(theta, pairs, ranks))
        assert surrogates[-1] >= delta / 4 * losses[-1]  # Eq. 19
        all_ranks.append(ranks)

        def share_of_wrong(ranking, ranks=ranks):
            return ranking.false_positives / ranking.align(ranks)

        error_driven_loss(scores, targets, share_of_wrong, delta=delta).backward()
        gradient = features.T @ scores.grad
        update = smooth(pairs @ theta) / ranks[:, None] / 4  # L~_ij / |P|, Eq. 16
        torch.testing.assert_close(gradient, torch.einsum('ij,ijd->d', update, pairs))
        theta = theta - delta / radius**2 * gradient

    bounds = []
    for u in (ideal, 2 * ideal, ideal / 3, theta, start):
        best = sum(surrogate(u, pairs, r) for (_, _, pairs), r in zip(batches, all_ranks))
        distance = (u - start).square().sum()
        assert sum(surrogates) <= 2 * best + radius**2 / delta * distance  # Eq. 26
        bounds.append(8 / delta * best + 4 * radius**2 / delta**2 * distance)
    assert sum(losses) <= min(bounds)  # Eq. 27
    # It did learn, from an accumulated loss that would have grown by the first one's every round.
    assert sum(losses[-50:]) < 0.6 * 50 * losses[0]
