"""The general frame: known losses written in it, new ones against its slow definition."""

import math

import numpy as np
import pytest
import torch

from rankdet.functional import alrp_loss, ap_loss, auc_loss, error_driven_loss
from tests.reference import error_driven as reference


def make_batch(seed, rows=9, columns=5):
    generator = torch.Generator().manual_seed(seed)
    logits = (torch.randn(rows, columns, generator=generator, dtype=torch.float64) * 4).round() / 4
    targets = torch.randint(-1, 2, (rows, columns), generator=generator)
    return logits, targets


def run(function, logits, *args, **options):
    leaf = logits.clone().requires_grad_()
    loss = function(leaf, *args, **options)
    loss.backward()
    return loss.detach(), leaf.grad


def imprecision(ranking):
    return ranking.false_positives / ranking.rank


def gain_lost(ranking):
    best, actual = ranking.rank_among_positives, ranking.rank
    return 1 / torch.log2(1 + best) - 1 / torch.log2(1 + actual)


def ideal_gain(ranking):
    return (1 / torch.log2(torch.arange(len(ranking)).double() + 2)).sum()


steps = pytest.mark.parametrize(
    'options', [dict(delta=0), dict(delta=1), dict(step='sigmoid', scale=2.0)]
)


@steps
def test_ap_loss(options):
    for seed in range(3):
        batch = make_batch(seed)
        found = run(error_driven_loss, *batch, imprecision, **options)
        wanted = run(ap_loss, *batch, interpolated=False, **options)
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-14)


@steps
def test_interpolated_ap_loss_and_auc_loss(options):
    batch = make_batch(3)
    rules = {
        ap_loss: lambda ranking: imprecision(ranking).cummin(0).values,
        auc_loss: lambda ranking: ranking.false_positives / ranking.num_negatives,
    }
    for function, rule in rules.items():
        found = run(error_driven_loss, *batch, rule, **options)
        wanted = run(function, *batch, **options)
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('scope', ['batch', 'image'])
@steps
def test_alrp_loss(options, scope, seed):
    """Eq. 10 and its target, Eq. 13; their difference, Eq. 14, is what is sent back."""
    images = torch.tensor([0, 1, 0, 0, 1, 1, 0, 1, 2])
    options = dict(options, scope=scope, image_ids=images)
    logits, targets = make_batch(seed)
    errors = torch.rand(int((targets == 1).sum()), dtype=torch.float64)

    def lrp(ranking):
        error = ranking.align(errors)
        total = ranking.false_positives + error + ranking.positives_above(error)
        return torch.where(ranking.false_positives > 1e-5, total, error) / ranking.rank

    def best(ranking):
        return ranking.align(errors) / ranking.rank

    _, found = run(error_driven_loss, logits, targets, lrp, target=best, **options)
    _, wanted = run(lambda *a, **o: alrp_loss(*a, **o).cls, logits, targets, errors, **options)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize('scope', ['batch', 'image'])
def test_the_parts_of_alrp_loss_add_up(scope):
    """Eq. 10 in value, where the two orders of positives agree: a hard step and no ties."""
    _, targets = make_batch(4)
    generator = torch.Generator().manual_seed(4)
    logits = torch.randperm(targets.numel(), generator=generator).double().view(targets.shape)
    errors = torch.rand(int((targets == 1).sum()), generator=generator, dtype=torch.float64)

    def lrp(ranking):
        error = ranking.align(errors)
        total = ranking.false_positives + error + ranking.positives_above(error)
        return total / ranking.rank

    options = dict(delta=0, scope=scope, image_ids=torch.tensor([0, 1, 0, 0, 1, 1, 0, 1, 2]))
    value = error_driven_loss(logits, targets, lrp, **options)
    cls, loc = alrp_loss(logits, targets, errors, **options)
    assert cls > 0 and loc > 0
    torch.testing.assert_close(value, cls + loc, rtol=1e-12, atol=0)


@pytest.mark.parametrize('delta', [0, 0.5, 1])
def test_normalised_discounted_cumulative_gain(delta):
    step = reference.linear_step(delta)
    for seed in range(3):
        logits, targets = make_batch(seed)
        value, gradient = reference.algorithm_1(
            logits.flatten(),
            targets.flatten(),
            loss=lambda rank, rank_plus, fp: 1 / math.log2(1 + rank_plus) - 1 / math.log2(1 + rank),
            share=lambda x: step(x) / max(step(x).sum(), 1e-300),
            normalizer=sum(1 / math.log2(1 + r) for r in range(1, int((targets == 1).sum()) + 1)),
            step=step,
        )
        found = run(
            error_driven_loss, logits, targets, gain_lost, normalizer=ideal_gain, delta=delta
        )
        assert found[0].item() == pytest.approx(value, abs=1e-12)
        np.testing.assert_allclose(found[1].flatten(), gradient, atol=1e-12)


def test_the_hard_gain_is_the_metric():
    from sklearn.metrics import ndcg_score

    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(40, generator=generator, dtype=torch.float64)
    targets = torch.randint(0, 2, (40,), generator=generator)
    loss = error_driven_loss(scores, targets, gain_lost, normalizer=ideal_gain, delta=0)
    assert 1 - loss.item() == pytest.approx(ndcg_score([targets], [scores]), abs=1e-12)


def test_a_skewed_share_and_a_target():
    """Harder negatives bear more; any l*, any Z."""
    step = reference.linear_step(1)
    for seed in range(3):
        logits, targets = make_batch(seed)
        value, gradient = reference.algorithm_1(
            logits.flatten(),
            targets.flatten(),
            loss=lambda rank, rank_plus, fp: fp**2,
            target=lambda rank, rank_plus, fp: rank_plus / rank,
            share=lambda x: torch.softmax(x, 0),
            normalizer=7.0,
            step=step,
        )
        found = run(
            error_driven_loss,
            logits,
            targets,
            lambda ranking: ranking.false_positives**2,
            target=lambda ranking: ranking.rank_among_positives / ranking.rank,
            share=torch.exp,
            normalizer=lambda ranking: 7.0,
        )
        assert found[0].item() == pytest.approx(value, rel=1e-12)
        np.testing.assert_allclose(found[1].flatten(), gradient, atol=1e-10)
        assert found[1].sum().item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize('above', [9, 1e9])
def test_nothing_lost_is_nothing_to_aim_at(above):
    """Line 2 of Algorithm 1: a target counts only where something is lost."""
    step = reference.linear_step(1)
    logits, targets = make_batch(5)
    _, gradient = reference.algorithm_1(
        logits.flatten(),
        targets.flatten(),
        loss=lambda rank, rank_plus, fp: (rank > above) * 0.5,
        target=lambda rank, rank_plus, fp: 1.0,
        share=lambda x: step(x) / max(step(x).sum(), 1e-300),
        step=step,
    )
    _, found = run(
        error_driven_loss,
        logits,
        targets,
        lambda ranking: (ranking.rank > above) * 0.5,
        target=lambda ranking: torch.ones(len(ranking)),
    )
    np.testing.assert_allclose(found.flatten(), gradient, atol=1e-12)
    assert gradient.any() == (above == 9)


def test_a_rule_may_work_in_place():
    def rule(ranking):
        ranking.rank_among_positives.zero_()
        ranking.scores.zero_()
        return ranking.false_positives.div_(ranking.rank)

    batch = make_batch(6)
    for share in (None, torch.exp):
        found = run(error_driven_loss, *batch, rule, share=share)
        wanted = run(error_driven_loss, *batch, imprecision, share=share)
        torch.testing.assert_close(found, wanted, rtol=0, atol=0)


@pytest.mark.parametrize('share', [None, torch.exp])
@pytest.mark.parametrize('which', ['no positives', 'no negatives', 'nothing'])
def test_nothing_to_rank(which, share):
    logits, targets = make_batch(0)
    targets = targets.clamp(max=0) if which == 'no positives' else targets.abs().clamp(min=1)
    if which == 'nothing':
        logits, targets = logits[:0], targets[:0]
    value, gradient = run(
        error_driven_loss, logits, targets, gain_lost, normalizer=ideal_gain, share=share
    )
    assert value == 0 and gradient.eq(0).all()


def test_half_precision():
    logits, targets = make_batch(1)
    wanted = run(error_driven_loss, logits, targets, imprecision)
    value, gradient = run(error_driven_loss, logits.half(), targets, imprecision)
    assert value.dtype == torch.float32 and gradient.dtype == torch.float16
    torch.testing.assert_close(value.double(), wanted[0])
    torch.testing.assert_close(gradient.double(), wanted[1], rtol=1e-3, atol=1e-4)


def test_rules_of_a_wrong_shape_are_named():
    logits, targets = make_batch(0)
    with pytest.raises(ValueError, match='loss must return one value per positive'):
        error_driven_loss(logits, targets, lambda ranking: ranking.rank.sum())
    with pytest.raises(ValueError, match=r'target must return one value per positive.*got float'):
        error_driven_loss(logits, targets, imprecision, target=lambda ranking: 0.0)
