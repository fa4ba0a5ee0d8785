"""What is DR loss's own; the properties of every loss are tested in one suite elsewhere."""

import itertools
import math

import numpy as np
import pytest
import torch

from rankdet.functional import dr_lambdas, dr_loss
from tests.reference import dr as reference


def make_images(seed, rows=8, width=7):
    """Scores of five images: mixed, mixed, without positives, without negatives, ignored."""
    generator = torch.Generator().manual_seed(seed)
    scores = 3 * torch.randn(rows, width, generator=generator, dtype=torch.float64)
    targets = torch.randint(-1, 2, (rows, width), generator=generator)
    images = torch.tensor([7, 2, 7, -4, 2, 0, 1, 2])
    targets[images == -4] = targets[images == -4].clamp(max=0)
    targets[images == 0] = targets[images == 0].abs()
    targets[images == 0, 0] = 1
    targets[images == 0] = torch.where(targets[images == 0] == 0, -1, targets[images == 0])
    targets[images == 1] = -1
    return scores, targets, images


def run(scores, targets, **options):
    leaf = scores.clone().requires_grad_()
    loss = dr_loss(leaf, targets, **options)
    loss.backward()
    return loss.detach(), leaf.grad


@pytest.mark.parametrize('pairing', ['dr', 'neg_only', 'all'])
@pytest.mark.parametrize('surrogate', ['logistic', 'quadratic', 'hinge'])
@pytest.mark.parametrize('neg_ratio', [None, 1.5])
def test_value_and_gradient_follow_the_paper(pairing, surrogate, neg_ratio):
    for seed, layout in itertools.product(range(3), ['one', 'rows', 'scores']):
        scores, targets, images = make_images(seed)
        each = images[:, None].expand_as(scores)
        ids = {'one': None, 'rows': images, 'scores': each}[layout]
        options = dict(pairing=pairing, neg_ratio=neg_ratio, neg_lambda=0.05, pos_lambda=0.7,
                       smoothness=4.0, rho=0.3, margin=0.4, tau=3.0)  # fmt: skip
        loss, grad = run(scores, targets, image_ids=ids, surrogate=surrogate, **options)
        value, gradient = reference.dr_loss(
            scores.flatten(),
            targets.flatten(),
            None if ids is None else each.flatten(),
            kind=surrogate,
            **options,
        )
        assert loss.item() == pytest.approx(value, abs=1e-13)
        np.testing.assert_allclose(grad.flatten(), gradient, atol=1e-13)


def test_defaults_are_the_papers_best():
    scores, targets, _ = make_images(0)
    loss, _ = run(scores, targets)
    value, _ = reference.dr_loss(
        scores.flatten(), targets.flatten(), pos_lambda=1 / math.log(math.e),
        neg_lambda=0.1 / math.log(3.5), smoothness=6, margin=0.5, tau=4,
    )  # fmt: skip
    assert loss.item() == pytest.approx(value, abs=1e-13)


@pytest.mark.parametrize('pairing', ['dr', 'neg_only', 'all'])
def test_gradient_is_the_derivative(pairing):
    scores, targets, images = make_images(1)
    assert torch.autograd.gradcheck(
        lambda s: dr_loss(s, targets, image_ids=images, pairing=pairing),
        scores.clone().requires_grad_(),
    )


def test_image_without_positives_pushes_its_negatives_down():
    scores = torch.tensor([0.3, -1.0], dtype=torch.float64)
    loss, grad = run(scores, torch.zeros(2))
    assert (grad[0] > 0) and loss > 0
    # P+ = 1: as with a positive of score 1.
    with_perfect = torch.cat([scores, scores.new_tensor([50.0])])
    assert loss == pytest.approx(run(with_perfect, torch.tensor([0, 0, 1]))[0].item())


def test_empty_images_are_not_counted():
    scores = torch.tensor([0.3, -1.0, 0.5, 9.0], dtype=torch.float64)
    targets = torch.tensor([1, 0, -1, -1])
    alone, _ = run(scores[:2], targets[:2])
    among, grad = run(scores, targets, image_ids=torch.tensor([0, 0, 1, 2]))
    assert among == alone
    assert grad[2:].eq(0).all()
    nothing, grad = run(scores, torch.full((4,), -1))
    assert nothing == 0 and grad.eq(0).all()


def test_is_invariant_to_the_numbering_of_images():
    scores, targets, images = make_images(2)
    expected = run(scores, targets, image_ids=images)
    renamed = run(scores, targets, image_ids=1000 - images)
    torch.testing.assert_close(renamed, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize('sharpness', [1e-6, 1e6])
def test_any_lambda_is_safe(sharpness):
    scores = torch.tensor([-1e4, -3.0, 0.0, 4.0, 1e4, 800.0], requires_grad=True)
    targets = torch.tensor([1, 0, 1, 0, 0, -1])
    loss = dr_loss(scores, targets, pos_lambda=sharpness, neg_lambda=sharpness)
    loss.backward()
    assert loss.isfinite() and scores.grad.isfinite().all()
    p = scores.detach().double().sigmoid()
    # The worst pair (Eq. 5) at one end, the uniform means (Eq. 4) at the other.
    gap = {1e-6: p[4] - p[0], 1e6: p[[1, 3, 4]].mean() - p[[0, 2]].mean()}[sharpness]
    expected = 4 * reference.surrogate(gap.item() + 0.5)[0]
    assert loss.item() == pytest.approx(expected, abs=1e-5)


def test_nan_is_not_hidden():
    scores = torch.tensor([1.0, float('nan'), 0.0])
    assert dr_loss(scores, torch.tensor([1, 0, 0])).isnan()
    assert dr_loss(scores, torch.tensor([0, 1, 0])).isnan()


@pytest.mark.parametrize('by_image', [False, True])
def test_more_negatives_than_an_integer_counts(by_image):
    scores, targets, images = make_images(0)
    ids = images if by_image else None
    found = run(scores, targets, image_ids=ids, neg_ratio=1e19)
    torch.testing.assert_close(found, run(scores, targets, image_ids=ids))


def test_all_pairs_never_meet_in_one_matrix(monkeypatch):
    from rankdet.functional import _pairs, dr

    scores, targets = torch.randn(13, dtype=torch.float64), torch.tensor([1] * 10 + [0] * 3)
    expected = run(scores, targets, pairing='all')
    sizes = dict(value=[], slope=[])

    def watch(name):
        original = getattr(dr.Surrogate, name)

        def watched(surrogate, z):
            sizes[name].append(z.numel())
            return original(surrogate, z)

        monkeypatch.setattr(dr.Surrogate, name, watched)

    watch('value')
    watch('slope')
    monkeypatch.setattr(_pairs, '_BLOCK', 8)
    actual = run(scores, targets, pairing='all')
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-14)
    assert sizes == dict(value=[6] * 5, slope=[6] * 5)


def test_lambdas_of_table_1():
    assert dr_lambdas() == (1.0, 0.1 / math.log(3.5))
    assert dr_lambdas(20, math.e) == (1 / math.log(20), 0.1)
    # "equivalent to fixing the weights as 1 and 0.1 and changing the base of the KL-divergence"
    q, o = torch.tensor([0.7, 0.3]).double(), torch.tensor([0.5, 0.5]).double()
    in_base = (q * (q / o).log() / math.log(5.5)).sum() * 0.1
    assert in_base.item() == pytest.approx(
        dr_lambdas(neg_base=5.5).neg_lambda * (q * (q / o).log()).sum().item()
    )


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(pos_lambda=0.0), 'pos_lambda .* > 0, got 0.0'),
        (dict(neg_lambda=-1.0), 'neg_lambda .* > 0, got -1.0'),
        (dict(smoothness=0), 'smoothness'),
        (dict(margin=-0.1), 'margin'),
        (dict(tau=float('nan')), 'tau'),
        (dict(rho=0), 'rho'),
        (dict(neg_ratio=0), 'neg_ratio'),
        (dict(surrogate='square'), "surrogate .* 'quadratic'.*got 'square'"),
        (dict(pairing='pos_only'), "pairing .* 'neg_only'.*got 'pos_only'"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        dr_loss(torch.zeros(2), torch.zeros(2), **options)
