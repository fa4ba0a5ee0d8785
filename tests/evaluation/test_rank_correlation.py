"""Rank correlation and its bounds against their definitions and scipy."""

import math

import numpy as np
import pytest
from scipy import stats

from rankdet.evaluation import evaluate, rank_correlation
from tests.evaluation.scenes import make_scenes
from tests.reference import rank_correlation as reference


@pytest.mark.parametrize('seed', range(5))
def test_equals_scipy(seed):
    rng = np.random.default_rng(seed)
    scores, ious = rng.integers(0, 9, 30) / 8, rng.random(30)
    wanted = stats.pearsonr(stats.rankdata(scores), stats.rankdata(ious)).statistic
    assert rank_correlation(scores, ious) == pytest.approx(wanted, abs=1e-12)
    assert rank_correlation(scores, ious) == pytest.approx(
        stats.spearmanr(scores, ious).statistic, abs=1e-12
    )


@pytest.mark.parametrize(
    ('scores', 'ious'),
    [([], []), ([0.9, 0.1], [0.9, 0.6]), ([0.5] * 4, [0.5, 0.6, 0.7, 0.8])],
)
def test_undefined(scores, ious):
    assert math.isnan(rank_correlation(scores, ious))


@pytest.mark.parametrize('seed', range(4))
def test_data_set_equals_definition(seed):
    gt, results = make_scenes(seed, images=15, coarse_scores=seed % 2 == 0)
    report = evaluate(gt, results).correlation
    wanted = []
    for category, found, num in zip(gt['categories'], report.per_class, report.num_tp):
        scores, ious = reference.true_positives(gt, results, category['id'])
        assert num == len(scores)
        wanted.append(reference.rho(scores, ious))
        assert found == pytest.approx(wanted[-1], abs=1e-9, nan_ok=True)
    assert math.isnan(wanted[-1])  # the class without detections
    assert report.rho == pytest.approx(np.nanmean(wanted), abs=1e-9)


@pytest.mark.parametrize('seed', range(3))
def test_bounds_equal_definition(seed):
    gt, results = make_scenes(seed, images=15, coarse_scores=False)
    found = evaluate(gt, results).bounds
    categories = [category['id'] for category in gt['categories']]
    for upper in (False, True):
        thresholds = np.linspace(0.5, 0.95, 10)
        table = np.array(
            [
                [reference.bound_ap(gt, results, k, thr, upper) for thr in thresholds]
                for k in categories
            ]
        )
        ours = dict(found['upper' if upper else 'lower'])
        # Boxes that equal their object tie at IoU 1, so that it is not quite one.
        assert ours.pop('rho') == pytest.approx(1 if upper else -1, abs=0.01)
        wanted = dict(
            AP=table.mean(),
            AP50=table[:, 0].mean(),
            AP75=table[:, 5].mean(),
            AP90=table[:, 8].mean(),
        )
        assert ours == pytest.approx(wanted, abs=1e-9)


def test_an_iou_equal_to_the_threshold_is_enough():
    """An IoU of exactly one half counts in the bounds at 0.5, as it does in AP50."""
    gt = dict(
        images=[dict(id=1)],
        categories=[dict(id=1, name='a')],
        annotations=[dict(image_id=1, category_id=1, bbox=[0, 0, 10, 10])],
    )
    half = [dict(image_id=1, category_id=1, bbox=[0, 0, 5, 10], score=0.5)]
    found = evaluate(gt, half).summary()
    assert found['AP50'] == found['lower/AP50'] == found['upper/AP50'] == pytest.approx(1)
    assert found['lower/AP'] == pytest.approx(0.1)


def test_bounds_enclose_the_result_and_keep_ap50():
    gt, results = make_scenes(9, images=40, coarse_scores=False)
    found = evaluate(gt, results).summary()
    assert found['lower/AP50'] == found['AP50'] == found['upper/AP50']
    assert found['lower/AP'] < found['AP'] < found['upper/AP']
