"""VOC's AP against the loop of the development kit, and in cases known by hand."""

import numpy as np
import pytest

from rankdet.evaluation import load_detections, load_ground_truth
from rankdet.evaluation.voc import voc_ap
from tests.datasets.voc_tree import Tree, voc_object
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


def kit_ap(objects, detections):
    """The kit's loop over pixels, both ends of a box among them, and the area under its curve.

    Objects are ``image, box, difficult``, detections ``image, box, score``.
    """
    found, counted, hits = set(), 0, []
    for image, box, _ in sorted(detections, key=lambda d: -d[2]):
        best, best_iou = None, -1.0
        for n, (other_image, other, _) in enumerate(objects):
            if other_image == image:
                w, h = (min(box[k + 2], other[k + 2]) - max(box[k], other[k]) + 1 for k in (0, 1))
                areas = sum((b[2] - b[0] + 1) * (b[3] - b[1] + 1) for b in (box, other))
                iou = w * h / (areas - w * h) if w > 0 and h > 0 else 0.0
                if iou > best_iou:
                    best, best_iou = n, iou
        if best_iou >= 0.5 and objects[best][2]:
            continue
        counted += 1
        if best_iou >= 0.5 and best not in found:
            found.add(best)
            hits.append(counted)
    precision = [n / at for n, at in enumerate(hits, 1)]
    best_from = [max(precision[n:]) for n in range(len(hits))]
    return sum(best_from) / sum(not difficult for *_, difficult in objects)


@pytest.mark.parametrize('seed', range(4))
def test_from_annotations_in_pixels_to_the_number_of_the_kit(seed, tmp_path):
    """Rows and columns of one pixel are objects, and half of two pixels is enough."""
    rng = np.random.default_rng(seed)
    tree = Tree(tmp_path / 'VOC')
    objects, detections, results = [], [], []
    for n in range(6):
        inside = []
        for k in range(4):
            w, h = rng.integers(2, 20, 2)
            w, h = (1, h) if k == 0 else (w, 1) if k == 1 else (w, h)
            x, y = (int(rng.integers(1, side - 20)) for side in (100, 80))
            box = (x, y, int(x + w - 1), int(y + h - 1))
            objects.append((n, box, int(rng.random() < 0.2)))
            inside.append(voc_object('cat', box, objects[-1][2]))
            for _ in range(2):
                x1, y1, x2, y2 = (int(v + d) for v, d in zip(box, rng.integers(-1, 2, 4)))
                if x1 <= x2 and y1 <= y2:
                    detections.append((n, (x1, y1, x2, y2), float(rng.random())))
        tree.add(f'{n}', *inside)
    content, findings = tree.convert()
    assert findings == []
    id_of = {i['file_name']: i['id'] for i in content['images']}
    for n, (x1, y1, x2, y2), score in detections:
        box = [x1 - 1, y1 - 1, x2 - x1 + 1, y2 - y1 + 1]
        image_id = id_of[f'JPEGImages/{n}.jpg']
        results.append(dict(image_id=image_id, category_id=1, bbox=box, score=score))
    found = run(content, results).area[0]
    assert 0.1 < found < 1
    assert found == pytest.approx(kit_ap(objects, detections), abs=1e-12)
