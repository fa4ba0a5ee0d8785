"""VOC's AP against the loop of the development kit, and in cases known by hand."""

import numpy as np
import pytest

from rankdet.evaluation import load_detections, load_ground_truth
from rankdet.evaluation.voc import voc_ap
from tests.evaluation.scenes import make_scenes
from tests.reference import voc_ap as reference


def run(gt, results, **kwargs):
    loaded = load_ground_truth(gt)
    return voc_ap(loaded, load_detections(results, loaded), **kwargs)


@pytest.mark.parametrize('iou_thr', [0.5, 0.7])
@pytest.mark.parametrize('seed', range(6))
def test_equals_development_kit(seed, iou_thr):
    gt, results = make_scenes(seed, coarse_scores=False, crowds=0.3)
    found = run(gt, results, iou_thr=iou_thr)
    for k, category in enumerate(gt['categories']):
        wanted = reference.voc_ap(gt, results, category['id'], iou_thr)
        np.testing.assert_allclose((found.eleven_point[k], found.area[k]), wanted, atol=1e-12)


def scene(objects, detections):
    gt = dict(
        images=[dict(id=1)],
        categories=[dict(id=1, name='a')],
        annotations=[
            dict(image_id=1, category_id=1, bbox=box, iscrowd=difficult)
            for box, difficult in objects
        ],
    )
    return gt, [
        dict(image_id=1, category_id=1, bbox=box, score=1 - n / 10)
        for n, box in enumerate(detections)
    ]


def test_duplicate_is_wrong_even_if_another_object_is_free():
    # Both overlap the first object most; COCO would give the second one the second object.
    gt, results = scene(
        [([0, 0, 10, 10], 0), ([0, 0, 10, 8], 0)], [[0, 0, 10, 10], [0, 0, 10, 9.5]]
    )
    assert run(gt, results).area[0] == 0.5


def test_difficult_object_absorbs_all_its_detections():
    gt, results = scene(
        [([0, 0, 10, 10], 1), ([50, 0, 10, 10], 0)],
        [[0, 0, 10, 10], [0, 0, 10, 9], [50, 0, 10, 10]],
    )
    found = run(gt, results)
    assert (found.eleven_point[0], found.area[0]) == (1, 1)
    assert found.summary() == {'VOC_AP50_11point': 1, 'VOC_AP50_area': 1}


def test_first_of_equal_objects_and_iou_equal_to_the_threshold():
    box, half = [0, 0, 10, 10], [0, 0, 10, 5]
    gt, results = scene([(box, 1), (box, 0)], [half])
    assert run(gt, results).area[0] == 0
    gt, results = scene([(box, 0), (box, 1)], [half])
    assert run(gt, results).area[0] == 1


def test_recall_of_three_tenths_reaches_three_tenths():
    # 3 / 10 in floating point is less than 3 * 0.1.
    objects = [([20.0 * n, 0, 10, 10], 0) for n in range(10)]
    gt, results = scene(objects, [box for box, _ in objects[:3]])
    assert run(gt, results).eleven_point[0] == pytest.approx(4 / 11)


def test_refuses_threshold():
    gt, results = scene([([0, 0, 1, 1], 0)], [])
    with pytest.raises(ValueError, match='iou_thr'):
        run(gt, results, iou_thr=0)
