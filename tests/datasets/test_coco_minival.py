"""COCO's val2014 is split as val2017 says; files that are none are told."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rankdet.datasets.coco_minival import split_val2014
from rankdet.datasets.tiny import make_tiny_coco

TOOL = Path(__file__).parents[2] / 'tools/dataset_converters/split_coco_val2014.py'


def run(folder):
    return subprocess.run([sys.executable, TOOL, folder], capture_output=True, text=True)


def test_minival_is_split_off(tmp_path):
    coco14 = make_tiny_coco(tmp_path / 'coco', names='2014', images=6)
    annotations = coco14 / 'annotations'
    whole = annotations / 'instances_valminusminival2014.json'
    whole.rename(annotations / 'instances_val2014.json')
    content = json.loads((annotations / 'instances_val2014.json').read_text())
    ids = [image['id'] for image in content['images']][1::2]
    small = dict(images=[dict(id=id) for id in ids], annotations=[], categories=[])
    (annotations / 'instances_val2017.json').write_text(json.dumps(small))
    done = run(annotations)
    assert done.returncode == 0, done.stderr
    told = [f'{verb} {annotations}/instances_' for verb in ('reading',) * 2 + ('writing',) * 2]
    lines = done.stderr.splitlines()
    assert len(lines) == 4 and all(line.startswith(text) for line, text in zip(lines, told))
    parts = [
        json.loads((annotations / f'instances_{name}2014.json').read_text())
        for name in ('minival', 'valminusminival')
    ]
    assert [image['id'] for image in parts[0]['images']] == ids
    for key in ('images', 'annotations'):
        both = sorted(entry['id'] for part in parts for entry in part[key])
        assert both == sorted(entry['id'] for entry in content[key])
    for part in parts:
        known = {image['id'] for image in part['images']}
        assert {a['image_id'] for a in part['annotations']} == known
    small['images'].append(dict(id=10**6))
    (annotations / 'instances_val2017.json').write_text(json.dumps(small))
    with pytest.raises(ValueError, match='lacks 1 images'):
        split_val2014(
            annotations / 'instances_val2014.json', annotations / 'instances_val2017.json'
        )


@pytest.mark.parametrize('year', ['2014', '2017'])
@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(images=[{'x': 1}]), 'entry 0 of images has no id'),
        (dict(images=[dict(id=1), dict(id=[1])]), 'entry 1 of images has id [1]'),
        (dict(images=[dict(id=1), dict(id=None)]), 'entry 1 of images has id None'),
        (dict(images=[dict(id=1), 7]), 'entry 1 of images is no object'),
        (dict(images=5), 'has no list of images: it is not in COCO format'),
        (dict(images={'id': 1}), 'has no list of images: it is not in COCO format'),
        (dict(annotations=[dict(image_id=1), {}]), 'entry 1 of annotations has no image_id'),
        (dict(annotations=[dict(image_id={})]), 'entry 0 of annotations has image_id {}'),
        (dict(annotations=['x']), 'entry 0 of annotations is no object'),
        (dict(annotations=None), 'has no list of annotations: it is not in COCO format'),
    ],
)
def test_minival_is_not_split_off_a_malformed_file(tmp_path, year, change, message):
    paths = {y: tmp_path / f'instances_val{y}.json' for y in ('2014', '2017')}
    for path in paths.values():
        path.write_text(json.dumps(dict(images=[dict(id=1)], annotations=[dict(image_id=1)])))
    content = json.loads(paths[year].read_text())
    paths[year].write_text(json.dumps(content | change))
    with pytest.raises(ValueError) as error:
        split_val2014(paths['2014'], paths['2017'])
    told = f'{paths[year]} {message}; it is in annotations_trainval{year}.zip'
    assert str(error.value) == told
    assert sorted(tmp_path.iterdir()) == sorted(paths.values())


def test_minival_with_ids_of_two_kinds_is_told(tmp_path):
    one, other = tmp_path / 'a.json', tmp_path / 'b.json'
    one.write_text(json.dumps(dict(images=[], annotations=[])))
    other.write_text(json.dumps(dict(images=[dict(id=1), dict(id='1')], annotations=[])))
    with pytest.raises(ValueError, match='lacks 2 images'):
        split_val2014(one, other)
    other.write_text('[]')
    done = run(tmp_path)
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    other.rename(tmp_path / 'instances_val2014.json')
    done = run(tmp_path)
    assert done.returncode == 1 and done.stderr.splitlines()[-1].startswith('split_coco_val2014: ')
