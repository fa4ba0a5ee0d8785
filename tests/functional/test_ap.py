"""What is AP and AUC Loss's own; the properties of every loss are tested in one suite elsewhere."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rankdet.functional import ap_loss, auc_loss
from tests.reference import error_driven as reference


def run(function, scores, targets, **options):
    leaf = scores.clone().requires_grad_()
    loss = function(leaf, targets, **options)
    loss.backward()
    return loss.detach(), leaf.grad


def test_the_hard_step_is_average_precision():
    from sklearn.metrics import average_precision_score

    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(500, generator=generator, dtype=torch.float64)
    targets = torch.randint(0, 2, (500,), generator=generator)
    loss = ap_loss(scores, targets, delta=0, interpolated=False)
    assert 1 - loss.item() == pytest.approx(average_precision_score(targets, scores), abs=1e-12)


def test_the_hard_step_is_the_area_under_roc():
    from sklearn.metrics import roc_auc_score

    generator = torch.Generator().manual_seed(1)
    scores = torch.randn(500, generator=generator, dtype=torch.float64)
    targets = torch.randint(0, 2, (500,), generator=generator)
    assert 1 - auc_loss(scores, targets, delta=0).item() == pytest.approx(
        roc_auc_score(targets, scores), abs=1e-12
    )


def test_interpolation_lets_precision_only_grow():
    # From the lowest positive up, precision is 2/5, 1/2 (at 3), then 1/2 again would be lower.
    scores = torch.tensor([50.0, 40.0, 30.0, 20.0, 10.0])
    targets = torch.tensor([0, 1, 0, 0, 1])
    plain, _ = run(ap_loss, scores, targets, interpolated=False)
    assert plain.item() == pytest.approx(1 - (1 / 2 + 2 / 5) / 2)
    scores = torch.tensor([50.0, 40.0, 30.0, 20.0, 10.0, 0.0])
    targets = torch.tensor([0, 0, 1, 1, 1, 0])
    plain, _ = run(ap_loss, scores, targets, interpolated=False)
    smooth, gradient = run(ap_loss, scores, targets)
    assert plain.item() == pytest.approx(1 - (3 / 5 + 2 / 4 + 1 / 3) / 3)
    assert smooth.item() == pytest.approx(1 - 3 / 5)
    torch.testing.assert_close(gradient * 3, torch.tensor([0.6, 0.6, -0.4, -0.4, -0.4, 0.0]))


@st.composite
def batches(draw):
    """Scores on a coarse grid around far apart centres: many ties, and knots that meet."""
    n = draw(st.integers(1, 40))
    centres = draw(
        st.lists(st.sampled_from([-1e4, -3.0, 0.0, 0.5, 7777.0]), min_size=n, max_size=n)
    )
    offsets = draw(st.lists(st.integers(-8, 8), min_size=n, max_size=n))
    scores = torch.tensor(centres, dtype=torch.float64) + torch.tensor(offsets) / 4
    targets = torch.tensor(draw(st.lists(st.integers(-1, 1), min_size=n, max_size=n)))
    return scores, targets


@settings(max_examples=60, deadline=None)
@given(batches(), st.sampled_from([0.0, 0.25, 0.3, 1.0, 5.0, 2e4]), st.booleans())
def test_any_batch_equals_algorithm_1(batch, delta, interpolated):
    scores, targets = batch
    options = dict(delta=delta, interpolated=interpolated)
    value, gradient = reference.ap_loss(
        scores, targets, reference.linear_step(delta), interpolated=interpolated
    )
    for dtype, atol in ((torch.float64, 1e-9), (torch.float32, 1e-6)):
        loss, found = run(ap_loss, scores.to(dtype), targets, **options)
        assert loss.item() == pytest.approx(value, abs=atol)
        np.testing.assert_allclose(found.double(), gradient, rtol=0, atol=atol)


@pytest.mark.parametrize('delta', [1e-300, 1e-30, 1e-12, 1e-6])
def test_a_narrow_step_is_nearly_the_hard_one(delta):
    generator = torch.Generator().manual_seed(2)
    scores = 100 * torch.randn(60, generator=generator, dtype=torch.float64)
    targets = torch.randint(0, 2, (60,), generator=generator)
    hard = run(ap_loss, scores, targets, delta=0)
    narrow = run(ap_loss, scores, targets, delta=delta)
    torch.testing.assert_close(narrow, hard, rtol=0, atol=1e-10)


@pytest.mark.parametrize('regime', ['start', 'middle', 'trained'])
def test_thousands_of_scores_keep_single_precision(regime):
    mean, std, positive_mean, positive_std = dict(
        start=(-4.6, 0.1, -4.6, 0.1), middle=(-4, 1.5, -2, 1.5), trained=(-7, 1.5, 1, 1.5)
    )[regime]
    generator = torch.Generator().manual_seed(3)
    targets = (torch.arange(10_000) % 100 == 0).long()
    noise = torch.randn(10_000, generator=generator)
    scores = torch.where(targets == 1, positive_mean + positive_std * noise, mean + std * noise)
    loss, gradient = run(ap_loss, scores, targets)
    value, wanted = reference.ap_loss(scores, targets, reference.linear_step(1))
    assert loss.item() == pytest.approx(value, rel=1e-6)
    np.testing.assert_allclose(gradient, wanted, rtol=2e-6, atol=1e-12)


@pytest.mark.parametrize('where', [0, 1])
@pytest.mark.parametrize('options', [{}, {'delta': 0}, {'step': 'sigmoid'}])
def test_nan_among_the_scores_is_not_hidden(where, options):
    scores = torch.tensor([1.0, 0.0, -1.0, 2.0])
    targets = torch.tensor([1, 0, 1, 0])
    scores[where] = float('nan')
    loss, _ = run(ap_loss, scores, targets, **options)
    assert loss.isnan()
    ignored, gradient = run(ap_loss, scores, targets.masked_fill(scores.isnan(), -1), **options)
    assert ignored.isfinite() and gradient.isfinite().all()


@pytest.mark.parametrize('targets', [[1, 1, 1, 0, 0, 0], [0, 1, 0, 1, 0, 1]])
@pytest.mark.parametrize('dtype', [torch.float16, torch.float32, torch.float64])
def test_infinite_scores_rank_as_huge_ones(dtype, targets):
    scores = torch.tensor([float('inf'), 3.0, -float('inf'), 2.0, 0.0, -1.0], dtype=dtype)
    targets = torch.tensor(targets)
    huge = scores.clamp(-1e4, 1e4)
    torch.testing.assert_close(run(ap_loss, scores, targets), run(ap_loss, huge, targets))


@pytest.mark.parametrize('shuffled', [False, True])
@pytest.mark.parametrize('by_row', [False, True])
@pytest.mark.parametrize('function', [ap_loss, auc_loss])
def test_scope_image_is_the_mean_over_images_with_positives(function, by_row, shuffled):
    generator = torch.Generator().manual_seed(4)
    scores = torch.randn(9, 6, generator=generator, dtype=torch.float64)
    targets = torch.randint(-1, 2, (9, 6), generator=generator)
    images = torch.tensor([3, 3, 3, -1, -1, 7, 7, 0, 0])
    if shuffled:
        images = images[torch.randperm(9, generator=generator)]
    targets[images == 7] = targets[images == 7].clamp(max=0)
    wanted = torch.zeros_like(scores)
    values = []
    for image in (3, -1, 0):
        rows = images == image
        value, wanted[rows] = run(function, scores[rows], targets[rows])
        values.append(value)
    ids = images if by_row else images[:, None].expand_as(scores)
    found = run(function, scores, targets, scope='image', image_ids=ids)
    torch.testing.assert_close(found, (torch.stack(values).mean(), wanted / 3))


def test_scope_image_without_any_positive():
    ids = torch.tensor([0, 1])
    value, gradient = run(
        ap_loss, torch.randn(2, 3), torch.zeros(2, 3), scope='image', image_ids=ids
    )
    assert value == 0 and gradient.eq(0).all()


def test_wrong_options_are_named():
    logits, targets = torch.zeros(2, 3), torch.zeros(2, 3)
    for options, message in (
        (dict(delta=-1), 'delta must be a finite number >= 0, got -1'),
        (dict(delta=float('nan')), 'delta must be a finite number >= 0, got nan'),
        (dict(delta=1e39), r'delta must be at most 1e\+20, got 1e\+39'),
        (dict(step='sigmoid', scale=0), 'scale must be a finite number > 0, got 0'),
        (dict(step='cubic'), "step must be one of 'linear', 'sigmoid', got 'cubic'"),
        (dict(scope='world'), "scope must be one of 'image', 'batch', 'global', got 'world'"),
        (dict(scope='image'), "image_ids must be given for scope='image', got None"),
        (dict(image_ids=torch.zeros(3).long()), r'image_ids must have shape \(2,\) or \(2, 3\)'),
        (dict(group='x'), "group is for scope='global' only, got scope='batch'"),
    ):
        with pytest.raises(ValueError, match=message):
            ap_loss(logits, targets, **options)
    with pytest.raises(TypeError, match="delta must be a number, got 'a'"):
        ap_loss(logits, targets, delta='a')
    with pytest.raises(TypeError, match='image_ids must be a tensor of integers'):
        ap_loss(logits, targets, image_ids=torch.zeros(2))
    with pytest.raises(ValueError, match=r'targets must hold 0\.\.2 \(positive class\), 3'):
        ap_loss(logits, torch.tensor([4, 0]), class_indices=True)
    with pytest.raises(TypeError, match='targets must be integers for class_indices=True'):
        ap_loss(logits, torch.zeros(2), class_indices=True)
