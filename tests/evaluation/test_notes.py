"""Zeros that have a reason are explained, and nothing else is."""

import copy
import json

import pytest

from rankdet.evaluation import evaluate, load_detections, load_ground_truth
from rankdet.evaluation.report import notes
from tests.evaluation.scenes import make_scenes
from tests.tools.cli import run_inside

GT, RESULTS = make_scenes(1)
WITH_OBJECTS = sorted({a['image_id'] for a in GT['annotations'] if not a['iscrowd']})


def notes_of(results, gt=GT):
    loaded = load_ground_truth(gt)
    return notes(loaded, load_detections(results, loaded))


def scaled(factor):
    return [row | dict(bbox=[factor * v for v in row['bbox']]) for row in RESULTS]


def of_images(ids):
    return [row for row in RESULTS if row['image_id'] in ids]


def test_none_as_a_rule():
    assert notes_of(RESULTS) == []


def test_normalised_boxes():
    results = scaled(1 / 300)
    assert evaluate(GT, results).summary()['AP50'] == 0
    greatest = max(max(row['bbox']) for row in results)
    (note,) = notes_of(results)
    assert note.startswith('no detection reaches IoU 0.5 with an object of its class')
    assert note.endswith(
        f'in pixels of the original image; no number of theirs is above {greatest:.4g}'
    )


def test_boxes_of_other_classes():
    """Every box is right, and of a class that the image has no object of."""
    gt = copy.deepcopy(GT)
    first, second = (category['id'] for category in GT['categories'][:2])
    gt['annotations'] = [a for a in gt['annotations'] if a['category_id'] == first]
    rows = [dict(image_id=a['image_id'], bbox=a['bbox'], score=0.5) for a in gt['annotations']]
    assert notes_of([row | dict(category_id=first) for row in rows], gt) == []
    (note,) = notes_of([row | dict(category_id=second) for row in rows], gt)
    assert note.startswith('no detection reaches IoU 0.5')


@pytest.mark.parametrize('iou, expected', [(0.5, 0), (0.499, 1)])
def test_one_hit_is_enough_and_a_crowd_is_none(iou, expected):
    gt = dict(
        images=[dict(id=1), dict(id=2)],
        categories=[dict(id=1, name='a')],
        annotations=[
            dict(image_id=1, category_id=1, bbox=[0, 0, 10, 10]),
            dict(image_id=1, category_id=1, bbox=[50, 50, 10, 10], iscrowd=1),
        ],
    )
    boxes = [[0, 0, 10, 10 * iou], [50, 50, 10, 10], [80, 80, 1, 1]]
    results = [dict(image_id=1, category_id=1, bbox=box, score=0.5) for box in boxes]
    results[:0] = 3 * [results[-1] | dict(image_id=2)]
    assert len(notes_of(results, gt)) == expected


def test_few_images():
    few, half = WITH_OBJECTS[:2], WITH_OBJECTS[: (len(WITH_OBJECTS) + 1) // 2]
    (note,) = notes_of(of_images(few))
    told = f'only 2 of the {len(WITH_OBJECTS)} images with objects have detections'
    assert note.startswith(told)
    assert notes_of(of_images(half)) == []


def test_without_objects_or_detections_one_reason_is_enough():
    assert notes_of([]) == ['the result is empty: nothing was detected']
    crowds = GT | dict(annotations=[a | dict(iscrowd=1) for a in GT['annotations']])
    (note,) = notes_of(scaled(1 / 300), crowds)
    assert note.startswith('no object counts')


def test_the_tool_says_so(tmp_path, monkeypatch, capsys):
    (tmp_path / 'gt.json').write_text(json.dumps(GT))
    (tmp_path / 'r.json').write_text(json.dumps(scaled(1 / 300)))
    arguments = (tmp_path / 'gt.json', tmp_path / 'r.json')
    done = run_inside(monkeypatch, capsys, 'eval_results', *arguments)
    assert done.status == 0
    assert f'note: {tmp_path}/r.json: no detection reaches IoU 0.5' in done.err
