"""The page on evaluation names every row, archive and value as the code has them; commands run."""

import copy
import json
import math
import re
import shlex
from pathlib import Path

import pytest

from rankdet.datasets.official import COCO_SPLITS, VOC_SPLITS
from rankdet.datasets.tiny import make_tiny_coco, make_tiny_voc
from rankdet.evaluation import evaluate
from tests.evaluation.scenes import make_scenes
from tests.tools.cli import ROOT, run_inside

PAGE = (ROOT / 'docs/evaluation.md').read_text(encoding='utf-8')
GT, RESULTS = make_scenes(1)
#: Columns of the table of values, with a row of each.
COLUMNS = {
    1: ('AP', 'AR@100', 'VOC_AP50_11point', 'VOC_AP50_area'),
    2: ('oLRP',),
    3: ('oLRP_loc', 'oLRP_fp'),
    4: ('oLRP_fn',),
    5: ('rho',),
}


def row(start):
    (line,) = [line for line in PAGE.splitlines() if line.startswith(f'| {start}')]
    return [cell.strip() for cell in line.strip('|').split('|')]


def test_every_row_is_explained_and_no_other():
    table = PAGE[PAGE.index('| row |') : PAGE.index('AP and AR equal')]
    cells = [line.split('|')[1] for line in table.splitlines() if line.startswith('|')]
    named = {name for cell in cells for name in re.findall(r'`(.+?)`', cell)}
    assert named == {*evaluate(GT, RESULTS, voc=True).summary(), 'threshold'}


def test_every_archive():
    archives = {split.archive for split in VOC_SPLITS.values()}
    for split in COCO_SPLITS.values():
        archives |= {split.images_archive, split.annotations_archive}
    archives = {name for name in archives if ' ' not in name}  # a sentence is no archive
    packed = {'detections_test-dev2017_AP-Loss_results.zip'}
    assert set(re.findall(r'`([^`\s]+\.(?:zip|tar))`', PAGE)) - packed == archives


def crowds():
    return GT | dict(annotations=[a | dict(iscrowd=1) for a in GT['annotations']])


@pytest.mark.parametrize(
    'start, gt, results',
    [('a result without', GT, []), ('ground truth with crowds', crowds(), RESULTS)],
)
def test_values_of_the_whole(start, gt, results):
    summary = evaluate(gt, results, voc=True).summary()
    cells = row(start)
    for column, names in COLUMNS.items():
        for name in names:
            value = summary[name]
            assert cells[column] == ('undefined' if math.isnan(value) else f'{value:g}'), name


@pytest.mark.parametrize('start', ['a class with objects', 'a class without objects'])
def test_values_of_a_class(start):
    """The last class has objects and no detection; without its objects it is left out."""
    gt = copy.deepcopy(GT)
    last = gt['categories'][-1]
    if 'without' in start:
        gt['annotations'] = [a for a in gt['annotations'] if a['category_id'] != last['id']]
    found = evaluate(gt, RESULTS, voc=True).per_class()[last['name']]
    cells = row(start)
    for column, names in COLUMNS.items():
        for name in set(names) & set(found):
            value = found[name]
            assert cells[column] == ('left out' if math.isnan(value) else f'{value:g}'), name


def commands(tool):
    """Arguments of each command of a tool on the page."""
    lines = PAGE.replace('\\\n', ' ').splitlines()
    return [
        shlex.split(line, comments=True)[2:] for line in lines if f'python tools/{tool}.py' in line
    ]


def test_commands_run(tmp_path, monkeypatch, capsys):
    """On tiny data, in the folders that the page names."""
    monkeypatch.chdir(tmp_path)
    make_tiny_voc('data/VOCdevkit', images=4)
    annotations = make_tiny_coco('data/coco', images=4) / 'annotations'
    converted = sorted(Path('data/VOCdevkit').glob('VOC*/instances_*.json'))
    for path in converted:
        path.unlink()
    Path('work_dirs').mkdir()
    Path('gt.json').write_text(json.dumps(GT))

    def run(tool, words, *more):
        words = ['gt.json' if word == 'ANNOTATIONS' else word for word in words]
        done = run_inside(monkeypatch, capsys, tool, *words, *more)
        assert done.status == 0, (words, done)
        return done.out

    for words in commands('dataset_converters/voc_to_coco'):
        run('dataset_converters/voc_to_coco', words)
    assert sorted(Path('data/VOCdevkit').glob('VOC*/instances_*.json')) == converted
    whole = annotations / 'instances_val2014.json'
    whole.write_text((annotations / 'instances_val2017.json').read_text())
    (words,) = commands('dataset_converters/split_coco_val2014')
    run('dataset_converters/split_coco_val2014', words)
    for year in ('minival2014', 'valminusminival2014'):
        (annotations / f'instances_{year}.json').unlink()  # what is left is the names of 2017
    whole.unlink()
    for words in commands('check_data')[:2]:
        assert '0 errors' in run('check_data', words, '--subset')
    for name in 'ab':
        Path(f'work_dirs/{name}.bbox.json').write_text(json.dumps(RESULTS))
    (words,) = commands('eval_results')
    assert run('eval_results', words).split()[:2] == ['a', 'b']
    tables = [run('sweep_scores', words) for words in commands('sweep_scores')]
    assert [len(table.splitlines()) for table in tables] == [7, 4]
    packed = {
        annotations / 'image_info_test-dev2017.json': (
            'work_dirs/detections_test-dev2017_AP-Loss_results.zip'
        ),
        converted[-2]: 'work_dirs/results.tar.gz',
    }
    for words, (images, archive) in zip(commands('pack_results'), packed.items()):
        (image, *_) = json.loads(images.read_text())['images']
        box = dict(image_id=image['id'], category_id=1, bbox=[0, 0, 9, 9], score=0.5)
        Path('work_dirs/a.bbox.json').write_text(json.dumps([box]))
        assert run('pack_results', words, '--any-images').strip() == archive
