"""AP and AR against pycocotools, to the last bit."""

import contextlib
import copy
import io

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from rankdet.evaluation import coco_ap, load_detections, load_ground_truth, match, matching
from tests.evaluation.scenes import make_scenes


def run_pycocotools(gt: dict, results: list[dict], max_dets=(1, 10, 100)) -> COCOeval:
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = copy.deepcopy(gt)
        coco.createIndex()
        found = COCOeval(coco, coco.loadRes(copy.deepcopy(results)), 'bbox')
        found.params.maxDets = list(max_dets)
        found.evaluate()
        found.accumulate()
        found.summarize()
    return found


def run_rankdet(gt: dict, results: list[dict], max_dets=(1, 10, 100)):
    loaded = load_ground_truth(gt)
    found = match(loaded, load_detections(results, loaded), max_dets=max_dets[-1])
    return coco_ap(found, max_dets=max_dets)


def assert_same(theirs: COCOeval, ours) -> None:
    np.testing.assert_array_equal(
        theirs.eval['precision'][..., -1], np.nan_to_num(ours.precision, nan=-1)
    )
    np.testing.assert_array_equal(theirs.eval['recall'], np.nan_to_num(ours.recall, nan=-1))


@pytest.mark.parametrize('seed', range(12))
@pytest.mark.parametrize('max_dets', [(1, 10, 100), (1, 3, 5)])
def test_equals_pycocotools(seed, max_dets):
    gt, results = make_scenes(seed, coarse_scores=seed % 2 == 0, crowds=[0.15, 0.6][seed % 3 == 0])
    theirs, ours = run_pycocotools(gt, results, max_dets), run_rankdet(gt, results, max_dets)
    assert_same(theirs, ours)


def test_summary_equals_pycocotools():
    gt, results = make_scenes(3, images=30)
    summary = run_rankdet(gt, results).summary()
    assert summary.pop('AP90') == pytest.approx(
        run_pycocotools(gt, results).eval['precision'][8, :, :, 0, -1].mean()
    )
    np.testing.assert_array_equal(list(summary.values()), run_pycocotools(gt, results).stats)


def test_dense_scene_with_equal_ious():
    # A grid of equal boxes, each detection half way between two: every IoU is a tie.
    boxes = [[10.0 * n, 0.0, 20.0, 20.0] for n in range(12)]
    gt = dict(
        images=[dict(id=1)],
        categories=[dict(id=1, name='a')],
        annotations=[
            dict(id=n + 1, image_id=1, category_id=1, bbox=b, area=400.0, iscrowd=int(n % 5 == 4))
            for n, b in enumerate(boxes)
        ],
    )
    results = [
        dict(image_id=1, category_id=1, bbox=[x + 5, y, w, h], score=(n * 7 % 10) / 10)
        for n, (x, y, w, h) in enumerate(boxes + boxes)
    ]
    assert_same(run_pycocotools(gt, results), run_rankdet(gt, results))
    assert np.nanmax(run_rankdet(gt, results).recall) > 0.5


def test_work_in_parts_changes_nothing(monkeypatch):
    gt, results = make_scenes(5, images=20)
    whole = run_rankdet(gt, results)
    monkeypatch.setattr(matching, '_PAIRS_AT_ONCE', 7)
    reported = []
    loaded = load_ground_truth(gt)
    parts = match(
        loaded,
        load_detections(results, loaded),
        progress=lambda stage, done, total: reported.append((done, total)),
    )
    np.testing.assert_array_equal(whole.precision, coco_ap(parts).precision)
    assert len(reported) > 5
    assert reported[-1][0] == reported[-1][1]


def test_object_with_id_zero_can_be_found():
    # pycocotools takes id 0 for "no match".
    gt = dict(
        images=[dict(id=0)],
        categories=[dict(id=0, name='a')],
        annotations=[dict(id=0, image_id=0, category_id=0, bbox=[0, 0, 9, 9], area=81, iscrowd=0)],
    )
    found = run_rankdet(gt, [dict(image_id=0, category_id=0, bbox=[0, 0, 9, 9], score=1.0)])
    assert found.ap() == pytest.approx(1)


def test_equal_boxes_match_at_iou_one():
    gt, _ = make_scenes(0, crowds=0)
    results = [
        {k: a[k] for k in ('image_id', 'category_id', 'bbox')} | dict(score=0.5)
        for a in gt['annotations']
    ]
    loaded = load_ground_truth(gt)
    found = match(loaded, load_detections(results, loaded), iou_thrs=[1.0])
    assert all(found.outcomes(label).tp[0, 0].all() for label in range(3))


@pytest.mark.parametrize('kwargs', [dict(iou_thrs=[1.5]), dict(iou_thrs=[]), dict(max_dets=0)])
def test_match_refuses(kwargs):
    gt, results = make_scenes(0)
    loaded = load_ground_truth(gt)
    with pytest.raises(ValueError, match=next(iter(kwargs))):
        match(loaded, load_detections(results, loaded), **kwargs)


def test_coco_ap_refuses_other_max_dets():
    gt, results = make_scenes(0)
    loaded = load_ground_truth(gt)
    found = match(loaded, load_detections(results, loaded), max_dets=50)
    with pytest.raises(ValueError, match='max_dets must end in the 50'):
        coco_ap(found, max_dets=(1, 10, 100))
