"""VOC's difficult objects in COCO-style AP: ignored, and overlapped by IoU as in VOC's kit."""

import contextlib
import copy
import io

import numpy as np
import pytest
from pycocotools import mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from rankdet.evaluation import coco_ap, evaluate, load_detections, load_ground_truth, match
from tests.evaluation.scenes import make_scenes


def scene(**flags) -> dict:
    """A large object with ``flags``, and one beside it that counts."""
    boxes = [[0, 0, 200, 200], [300, 0, 20, 20]]
    return dict(
        images=[dict(id=1)],
        categories=[dict(id=1, name='a')],
        annotations=[
            dict(id=n, image_id=1, category_id=1, bbox=box, area=box[2] * box[3], iscrowd=0)
            | (flags if n == 1 else {})
            for n, box in enumerate(boxes, 1)
        ],
    )


def detection(box, score):
    return dict(image_id=1, category_id=1, bbox=box, score=score)


HIT = detection([300, 0, 20, 20], 0.1)


@pytest.mark.parametrize(
    ('flags', 'precision'),
    [(dict(iscrowd=1, difficult=1), 1 / 11), (dict(iscrowd=1), 1), (dict(difficult=1), 1 / 22)],
)
def test_small_detections_inside_a_difficult_object_are_false(flags, precision):
    inside = [detection([15 * n, 15 * n, 10, 10], 0.9 - n / 100) for n in range(10)]
    summary = evaluate(scene(**flags), [*inside, HIT]).summary()
    # Counted as an object, the large one is missed, so that only recall 0 to 0.5 is reached.
    wanted = precision if flags.get('iscrowd') else 51 / 101 / 11
    assert summary['AP50'] == pytest.approx(wanted, abs=1e-9)
    assert summary['oLRP_fn'] == pytest.approx(0 if flags.get('iscrowd') else 0.5)


@pytest.mark.parametrize(('height', 'ap50'), [(120, 1.0), (100, 1.0), (99, 0.25)])
def test_any_number_of_detections_of_iou_half_is_ignored(height, ap50):
    near = [detection([0, 0, 200, height], 0.9 - n / 100) for n in range(3)]
    gt = scene(iscrowd=1, difficult=1)
    assert evaluate(gt, [*near, HIT]).summary()['AP50'] == pytest.approx(ap50)
    loaded = load_ground_truth(gt)
    found = match(loaded, load_detections([*near, HIT], loaded)).outcomes(0)
    at_half = found.counted[0, 0].sum()
    assert at_half == (1 if ap50 == 1 else 4)
    assert found.counted[3, 0].sum() == 4  # at IoU 0.65 they all fall short


class KitOverlap(COCOeval):
    """pycocotools with one change: the overlap with a difficult object is the IoU."""

    def computeIoU(self, imgId, catId):
        gts, dts = self._gts[imgId, catId], self._dts[imgId, catId]
        if not gts or not dts:
            return []
        dts = sorted(dts, key=lambda d: -d['score'])[: self.params.maxDets[-1]]
        region = [int(g['iscrowd'] and not g['difficult']) for g in gts]
        return mask.iou([d['bbox'] for d in dts], [g['bbox'] for g in gts], region)


@pytest.mark.parametrize('seed', range(6))
def test_equals_pycocotools_with_that_overlap(seed):
    gt, results = make_scenes(seed, crowds=0.5, coarse_scores=False)
    rng = np.random.default_rng(seed)
    for annotation in gt['annotations']:
        annotation['difficult'] = int(rng.random() < 0.6)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = copy.deepcopy(gt)
        coco.createIndex()
        theirs = KitOverlap(coco, coco.loadRes(copy.deepcopy(results)), 'bbox')
        theirs.evaluate()
        theirs.accumulate()
    loaded = load_ground_truth(gt)
    ours = coco_ap(match(loaded, load_detections(results, loaded)))
    np.testing.assert_array_equal(
        theirs.eval['precision'][..., -1], np.nan_to_num(ours.precision, nan=-1)
    )
    plain = [{k: v for k, v in a.items() if k != 'difficult'} for a in gt['annotations']]
    assert evaluate(gt | dict(annotations=plain), results).summary()['AP'] != ours.ap()
