"""Unusable input is an error that says what is wrong; empty input has documented values."""

import copy
import json
import math

import pytest

from rankdet.evaluation import (
    evaluate,
    load_detections,
    load_ground_truth,
    sweep_score_thresholds,
)
from tests.evaluation.scenes import make_scenes

GT, RESULTS = make_scenes(0)


def changed(row: int, **fields) -> list[dict]:
    results = copy.deepcopy(RESULTS)
    results[row].update(fields)
    return results


@pytest.mark.parametrize(
    ('results', 'message'),
    [
        (changed(3, image_id=12345), r'1 of \d+ entries have a image_id .* such as \[12345\]'),
        (changed(3, image_id='3'), "image_id .* such as \\['3'\\]"),
        (changed(3, category_id=77), r'category_id .* such as \[77\]; it has 3, such as \[2, 7'),
        (changed(3, score='0.5'), 'every detection must have a number as score'),
        (changed(3, score=math.nan), 'score must be finite, got nan at entry 3'),
        (changed(3, score=math.inf), 'score must be finite, got inf at entry 3'),
        (changed(3, score=None), 'every detection must have a number as score, got None'),
        (changed(3, score=True), 'every detection must have a number as score, got True'),
        (changed(3, score=10**400), 'a number as score that fits double precision'),
        (changed(3, bbox=[0, 0, True, 5]), 'a bbox .* of numbers, got True'),
        (changed(3, bbox='abcd'), "a bbox .* of numbers, got 'a'"),
        (changed(3, bbox=[0, 0, 5, [5]]), r'a bbox .* of numbers, got \[5\]'),
        (changed(3, bbox=[0, 0, -1, 5]), r'must be >= 0, got \[0.0, 0.0, -1.0, 5.0\] at entry 3'),
        (changed(3, bbox=[0, 0, math.nan, 5]), 'bbox must be finite'),
        (changed(3, bbox=[0, 0, 1e200, 1e200]), 'at most 1e\\+150, or its area .* at entry 3'),
        (changed(3, bbox=[-1e308, 0, 1, 1]), 'numbers of a bbox must be at most 1e'),
        (changed(3, bbox=[0, 0, 5]), r'every entry must have a bbox \[x, y, width, height\]'),
        ([dict(image_id=3, category_id=2, score=0.5)], 'every entry must have a bbox'),
        ([dict(category_id=2, bbox=[0, 0, 1, 1], score=0.5)], 'object with image_id'),
        ([1, 2], 'object with image_id'),
        (dict(annotations=RESULTS), 'must be a list of detections .* got dict'),
    ],
)
def test_results(results, message):
    with pytest.raises(ValueError, match=message):
        evaluate(GT, results)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(annotations=[]), 'has no annotations, so nothing can be measured'),
        (dict(annotations=None), 'has no annotations'),
        (dict(images=[dict(id=3), dict(id=3)]), 'images: id 3 occurs more than once'),
        (dict(images=[dict(id=3)]), 'annotations: .* have a image_id'),
        (dict(categories=[dict(id=2, name='a')]), 'annotations: .* have a category_id'),
        (dict(images=[dict(name='x')]), 'images must be a list of objects with an id'),
        (dict(images=[dict(id=[3])]), 'images must be a list of objects with an id that is'),
        (dict(images=[dict(id=3), dict(id='3')]), r"one kind, got \['int', 'str'\]"),
        (
            dict(categories=[dict(c, name='a') for c in GT['categories']]),
            r"categories must have different names, \['a'\] occur again",
        ),
        (dict(categories=[dict(id=2)]), r'categories must have a name each, \[2\] have none'),
        (dict(categories=[dict(id=2, name=None)]), 'name must be a string, got None'),
        (dict(categories=[dict(id=2, name=['x'])]), r"name must be a string, got \['x'\]"),
        (dict(images=[dict(id=3, file_name=3)]), 'file_name must be a string, got 3'),
    ],
)
def test_ground_truth(change, message):
    with pytest.raises(ValueError, match=message):
        load_ground_truth(GT | change)


@pytest.mark.parametrize(
    ('field', 'value', 'message'),
    [
        ('iscrowd', 2, 'iscrowd must be 0 or 1, got 2'),
        ('area', math.nan, 'area must be finite'),
        ('area', -1, r'area must be finite and >= 0, got -1.0 at entry 1'),
        ('area', 'x', 'area must be a number'),
        ('area', '12', "area must be a number, got '12'"),
        ('area', True, 'area must be a number, got True'),
        ('area', None, 'area must be a number, got None'),
        ('difficult', 2, 'difficult must be 0 or 1, got 2'),
        ('bbox', [0, 0, 5, -5], 'width and height of a bbox must be >= 0'),
        ('bbox', [0, 0, 1e200, 1e200], 'numbers of a bbox must be at most 1e'),
    ],
)
def test_annotations(field, value, message):
    gt = copy.deepcopy(GT)
    gt['annotations'][1][field] = value
    with pytest.raises(ValueError, match=message):
        load_ground_truth(gt)


@pytest.mark.parametrize('max_dets', [(), (0, 100), (-5,), (100, 10), (10, 10)])
@pytest.mark.parametrize('measure', [evaluate, sweep_score_thresholds])
def test_max_dets_are_checked_before_anything_is_read(measure, max_dets):
    with pytest.raises(ValueError, match='max_dets must be at least 1 and ascend'):
        measure('absent.json', 'absent.json', max_dets=max_dets)


@pytest.mark.parametrize('measure', [evaluate, sweep_score_thresholds])
def test_tau_is_checked_before_anything_is_read(measure):
    with pytest.raises(ValueError, match=r'tau must be in \[0, 1\), got 1'):
        measure('absent.json', 'absent.json', tau=1)


def test_ground_truth_of_another_kind():
    with pytest.raises(ValueError, match='must be an object with images, categories'):
        load_ground_truth(dict(images=[]))
    with pytest.raises(ValueError, match=r"classes \['dog'\] are not in ground truth"):
        load_ground_truth(GT, classes=['dog'])


@pytest.mark.parametrize('content', ['', '[{"image_id": 1', '\x80'])
def test_file_that_is_not_json(tmp_path, content):
    path = tmp_path / 'results.json'
    path.write_bytes(content.encode('latin1'))
    gt = load_ground_truth(GT)
    with pytest.raises(ValueError, match=r'results .*results\.json.*(is not JSON|is empty)'):
        load_detections(path, gt)
    with pytest.raises(FileNotFoundError, match=r'results .*absent\.json.? does not exist'):
        load_detections(tmp_path / 'absent.json', gt)


def test_no_detections_have_the_documented_values(tmp_path):
    path = tmp_path / 'results.json'
    path.write_text('[]')
    summary = evaluate(GT, path, voc=True).summary()
    undefined = {'oLRP_loc', 'oLRP_fp', 'rho', 'lower/rho', 'upper/rho'}
    for name, value in summary.items():
        if name in undefined:
            assert math.isnan(value), name
        else:
            assert value == (1 if name in {'oLRP', 'oLRP_fn'} else 0), name


@pytest.mark.filterwarnings('error')
def test_the_greatest_boxes_are_measured_without_a_warning():
    gt = copy.deepcopy(GT)
    gt['annotations'][0]['bbox'] = [-1e150, 0, 1e150, 1e150]
    near = dict(GT['annotations'][0], score=0.5)
    summary = evaluate(gt, [near | dict(bbox=[1e150, 0, 1e150, 1e150])], voc=True).summary()
    assert summary['AP'] == 0


def test_only_crowds_leave_everything_undefined():
    gt = copy.deepcopy(GT)
    for annotation in gt['annotations']:
        annotation['iscrowd'] = 1
    summary = evaluate(gt, RESULTS, voc=True).summary()
    assert all(math.isnan(value) for value in summary.values())


def test_defaults_of_missing_fields():
    gt = copy.deepcopy(GT)
    for annotation in gt['annotations']:
        annotation['area'] = annotation['bbox'][2] * annotation['bbox'][3]
        annotation['iscrowd'] = 0
    bare = copy.deepcopy(gt)
    for annotation in bare['annotations']:
        del annotation['area'], annotation['iscrowd'], annotation['id']
    assert evaluate(gt, RESULTS).summary() == evaluate(bare, RESULTS).summary()


def test_chosen_classes_are_measured_alone(tmp_path):
    path = tmp_path / 'gt.json'
    path.write_text(json.dumps(GT))
    name = GT['categories'][1]['name']
    gt = load_ground_truth(path, classes=[name])
    results = [r for r in RESULTS if r['category_id'] == GT['categories'][1]['id']]
    assert gt.class_names == (name,)
    assert evaluate(gt, results).summary()['AP'] == pytest.approx(
        evaluate(GT, RESULTS).per_class()[name]['AP']
    )
