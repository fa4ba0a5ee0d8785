"""oLRP against the slow definition, and in cases that are known by hand."""

import math

import numpy as np
import pytest

from rankdet.evaluation import evaluate, load_detections, load_ground_truth, olrp, optimal_lrp
from tests.evaluation.scenes import make_scenes
from tests.reference import lrp as reference

NAN = math.nan


def run(gt, results, **kwargs):
    loaded = load_ground_truth(gt)
    return olrp(loaded, load_detections(results, loaded), **kwargs)


@pytest.mark.parametrize('tau', [0.0, 0.3, 0.5, 0.75, 0.9])
@pytest.mark.parametrize('seed', range(4))
def test_equals_definition(seed, tau):
    gt, results = make_scenes(seed, coarse_scores=seed % 2 == 0)
    report = run(gt, results, tau=tau)
    for category, found in zip(gt['categories'], report.per_class):
        wanted = reference.optimal_lrp(gt, results, category['id'], tau)
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-9, err_msg=category['name'])


@pytest.mark.parametrize('max_dets', [1, 2, 5])
def test_equals_definition_with_few_detections(max_dets):
    gt, results = make_scenes(7)
    report = run(gt, results, max_dets=max_dets)
    for category, found in zip(gt['categories'], report.per_class):
        wanted = reference.optimal_lrp(gt, results, category['id'], 0.5, max_dets)
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-9)


@pytest.mark.parametrize('tau', [0.5, 0.62])
def test_same_from_the_shared_matching(tau):
    gt, results = make_scenes(2)
    shared, own = evaluate(gt, results, tau=tau).lrp, run(gt, results, tau=tau)
    np.testing.assert_array_equal(shared.per_class, own.per_class)


def test_class_without_true_positive_counts_one_and_has_no_parts():
    gt, results = make_scenes(0, classes=2)  # the last class has no detections
    report = run(gt, results)
    first, last = report.per_class
    assert last == pytest.approx((1, NAN, NAN, 1, NAN), nan_ok=True)
    summary = report.summary()
    assert summary['oLRP'] == pytest.approx((first.lrp + 1) / 2)
    assert summary['oLRP_fn'] == pytest.approx((first.fn + 1) / 2)
    assert summary['oLRP_loc'] == first.loc
    assert summary['oLRP_fp'] == first.fp
    assert math.isnan(report.thresholds()[gt['categories'][1]['name']])


def test_class_without_objects_is_left_out():
    gt, results = make_scenes(1)
    before = run(gt, results).summary()
    gt['categories'].append(dict(id=99, name='absent'))
    results.append(dict(image_id=3, category_id=99, bbox=[0, 0, 5, 5], score=0.5))
    assert run(gt, results).summary() == before


def test_published_components_rebuild_the_whole():
    gt, results = make_scenes(4)
    tau = 0.5
    for found in run(gt, results, tau=tau).per_class[:-1]:
        n_tp = 1 - found.fn  # per object
        n_fp = n_tp * found.fp / (1 - found.fp)
        whole = (n_tp * found.loc / (1 - tau) + n_fp + found.fn) / (n_tp + n_fp + found.fn)
        assert found.lrp == pytest.approx(whole, abs=1e-12)


def test_perfect_detector():
    assert optimal_lrp([0.3, 0.2], [True, True], [1.0, 1.0], 2) == (0, 0, 0, 0, 0.2)


def test_equal_scores_pass_together():
    # Between the two, LRP would be 0; no threshold separates them.
    found = optimal_lrp([0.5, 0.5], [True, False], [1.0, 0.0], 1)
    assert found == pytest.approx((0.5, 0, 0.5, 0, 0.5))


def test_highest_of_equally_good_thresholds():
    # One of two objects found alone, or both of them with two false alarms: 1/2 each.
    found = optimal_lrp([0.9, 0.8, 0.7, 0.6], [True, False, False, True], [1.0, 0, 0, 1.0], 2)
    assert found == (0.5, 0, 0, 0.5, 0.9)


def test_minimum_is_looked_for_at_every_score():
    # On a grid of hundredths the two scores are one threshold.
    found = optimal_lrp([0.50002, 0.50001], [True, False], [1.0, 0.0], 1)
    assert found == pytest.approx((0, 0, 0, 0, 0.50002))


def test_true_positives_at_exactly_tau_keep_their_components():
    found = optimal_lrp([0.9, 0.8], [False, True], [0.0, 0.5], 1)
    assert found == pytest.approx((1, 0.5, 0.5, 0, 0.8))


def test_no_detections_and_no_objects():
    assert optimal_lrp([], [], [], 3) == pytest.approx((1, NAN, NAN, 1, NAN), nan_ok=True)
    assert optimal_lrp([0.5], [False], [0.0], 0) == pytest.approx((NAN,) * 5, nan_ok=True)


def test_at_tau_0_a_disjoint_detection_is_a_true_positive():
    """As the docstring says, and IoU >= tau does."""
    gt = dict(
        images=[dict(id=1)],
        categories=[dict(id=1, name='a')],
        annotations=[dict(image_id=1, category_id=1, bbox=[0, 0, 10, 10])],
    )
    results = [dict(image_id=1, category_id=1, bbox=[50, 50, 10, 10], score=0.5)]
    assert run(gt, results, tau=0.0).per_class[0] == (1, 1, 0, 0, 0.5)
    assert math.isnan(run(gt, results, tau=1e-6).per_class[0].loc)


@pytest.mark.parametrize('tau', [1.0, -0.1, NAN])
def test_refuses_tau(tau):
    with pytest.raises(ValueError, match=r'tau must be in \[0, 1\)'):
        optimal_lrp([0.5], [True], [1.0], 1, tau=tau)
