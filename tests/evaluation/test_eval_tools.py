"""The table, the sweep and the command lines."""

import csv
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from rankdet.datasets.official import COCO_CATEGORY_IDS, COCO_CLASSES, VOC_CLASSES
from rankdet.evaluation import evaluate, sweep_score_thresholds
from rankdet.evaluation.progress import StderrProgress
from rankdet.evaluation.report import SWEEP_THRESHOLDS
from rankdet.evaluation.table import format_table
from tests.evaluation.scenes import make_scenes

ROOT = Path(__file__).resolve().parents[2]
GT, RESULTS = make_scenes(1)
MADE_UP = ('--any-images', '--classes', *(category['name'] for category in GT['categories']))


def tool(name, *args):
    command = [sys.executable, str(ROOT / 'tools' / name), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)


@pytest.fixture
def files(tmp_path):
    (tmp_path / 'gt.json').write_text(json.dumps(GT))
    (tmp_path / 'a.bbox.json').write_text(json.dumps(RESULTS))
    (tmp_path / 'b.bbox.json').write_text(json.dumps(RESULTS[::2]))
    (tmp_path / 'empty.json').write_text(json.dumps(GT | dict(annotations=[])))
    (tmp_path / 'null.json').write_text('null')
    return tmp_path


class MadeUp(NamedTuple):
    """A list of images with COCO's categories and none of its images, and results on it."""

    folder: Path
    images: Path
    results: Path


@pytest.fixture
def test_set(tmp_path):
    images = [dict(id=id, file_name=f'{id:012d}.jpg') for id in (1, 2, 3)]
    categories = [dict(id=i, name=name) for i, name in zip(COCO_CATEGORY_IDS, COCO_CLASSES)]
    found = MadeUp(tmp_path, tmp_path / 'images.json', tmp_path / 'd.json')
    found.images.write_text(json.dumps(dict(images=images, categories=categories)))
    row = dict(image_id=1, category_id=13, bbox=[0, 0, 5, 5], score=0.5)
    found.results.write_text(json.dumps([row, row]))
    return found


@pytest.mark.filterwarnings('ignore:no detection scores above 2')
@pytest.mark.parametrize('max_dets', [(1, 10, 100), (1, 2)])
def test_sweep_equals_filtered_results(max_dets):
    thresholds = (-0.1, 0.2, 0.55, 0.9, 2.0)
    found = sweep_score_thresholds(GT, RESULTS, thresholds, max_dets=max_dets)
    assert tuple(found) == thresholds
    for threshold, evaluation in found.items():
        kept = [row for row in RESULTS if row['score'] > threshold]
        wanted = evaluate(GT, kept, bounds=False, max_dets=max_dets).summary()
        assert evaluation.summary() == pytest.approx(wanted, abs=0, nan_ok=True)


def test_sweep_has_the_thresholds_of_the_paper():
    """DR Loss, Table 5."""
    assert SWEEP_THRESHOLDS == (0.05, 0.1, 0.2, 0.3, 0.4, 0.5)


def test_sweep_tells_where_the_result_was_cut_before():
    kept = [row for row in RESULTS if row['score'] > 0.3]
    with pytest.warns(UserWarning, match=r'below 0.35, so that the thresholds \[0.1, 0.2\] give'):
        sweep_score_thresholds(GT, kept, (0.1, 0.2, 0.4))


@pytest.mark.parametrize('thresholds', [(), (0.1, math.nan)])
def test_sweep_refuses(thresholds):
    with pytest.raises(ValueError, match='thresholds must be'):
        sweep_score_thresholds(GT, RESULTS, thresholds)


def test_table_styles():
    columns = {'a|b': {'AP': 0.3551, 'rho': -0.25}, 'c': {'AP': math.nan, 'new': 1.0}}
    text = format_table(columns).splitlines()
    assert [line.split() for line in text] == [
        ['a|b', 'c'],
        ['AP', '35.5', '-'],
        ['rho', '-0.250', '-'],
        ['new', '-', '100.0'],
    ]
    markdown = format_table(columns, style='markdown').splitlines()
    assert markdown[0].startswith('|     |   a\\|b |')
    assert len({len(line) for line in markdown}) == 1
    assert format_table(columns, style='csv').splitlines()[1:3] == ['AP,35.5,', 'rho,-0.250,']
    assert format_table(columns, style='csv', by_row=True).splitlines()[0] == ',AP,rho,new'
    assert json.loads(format_table(columns, style='json'))['c'] == {'AP': None, 'new': 1.0}
    with pytest.raises(ValueError, match='style'):
        format_table(columns, style='html')


def test_eval_results_prints_all_files_side_by_side(files):
    args = [files / 'gt.json', files / 'a.bbox.json', files / 'b.bbox.json', '--voc']
    done = tool('eval_results.py', *args, '--style', 'json', '--classwise')
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert list(found) == ['a', 'b']
    for name, rows in (('a', RESULTS), ('b', RESULTS[::2])):
        wanted = evaluate(GT, rows, voc=True)
        classes = found[name].pop('classes')
        assert list(classes) == list(wanted.per_class())
        for key, value in wanted.summary().items():
            assert (found[name][key] is None) if math.isnan(value) else found[name][key] == value
    text = tool('eval_results.py', *args, '--names', 'one', 'two', '--classwise').stdout
    assert text.split()[:2] == ['one', 'two']
    assert all(name in text for name in ('AP90', 'oLRP_loc', 'rho', 'lower/AP75', 'VOC_AP50_area'))


def test_classes_in_csv_are_one_table(files):
    args = [files / 'gt.json', files / 'a.bbox.json', files / 'b.bbox.json', '--classwise']
    rows = list(csv.reader(tool('eval_results.py', *args, '--style', 'csv').stdout.splitlines()))
    assert len({len(row) for row in rows}) == 1
    header, *body = rows
    names = [category['name'] for category in GT['categories']]
    titles = [t for result in 'ab' for t in (result, *(f'{result}/{name}' for name in names))]
    assert [row[0] for row in body] == titles
    wanted = evaluate(GT, RESULTS[::2]).per_class()[names[0]]
    cells = dict(zip(header, body[titles.index(f'b/{names[0]}')]))
    assert cells['AP'] == f'{100 * wanted["AP"]:.1f}'
    assert cells['threshold'] == f'{wanted["threshold"]:.3f}' and cells['AP90'] == ''


def test_one_bad_result_leaves_the_others(files):
    args = [files / n for n in ('gt.json', 'a.bbox.json', 'null.json', 'absent.json')]
    done = tool('eval_results.py', *args, files / 'b.bbox.json', '--style', 'json')
    assert done.returncode == 1 and list(json.loads(done.stdout)) == ['a', 'b']
    errors = [line for line in done.stderr.splitlines() if line.startswith('error: ')]
    assert len(errors) == 2 and 'null.json' in errors[0] and 'absent.json' in errors[1]


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (('--tau', '1'), r'--tau must be in [0, 1), got 1.0'),
        (('--max-dets', '0'), '--max-dets must be at least 1 and ascend, got (0,)'),
    ],
)
def test_options_are_checked_before_anything_is_read(files, options, message):
    done = tool('eval_results.py', files / 'absent.json', files / 'absent.json', *options)
    assert done.returncode == 2 and message in done.stderr and 'reading' not in done.stderr


def test_progress_names_each_stage_once(capsys):
    with StderrProgress('a') as progress:
        evaluate(GT, RESULTS, progress=progress)
    stages = [line.split()[1] for line in capsys.readouterr().err.splitlines()]
    assert stages == ['reading', 'reading', 'matching', 'measuring']


def test_progress_says_what_is_left_of_the_stage(capsys, monkeypatch):
    seconds = iter([0.0, 100.0, 100.0, 130.0, 160.0])  # made, then a call each
    monkeypatch.setattr('rankdet.evaluation.progress.time.monotonic', lambda: next(seconds))
    progress = StderrProgress()
    for stage, done, total in (('a', 0, 3), ('b', 0, 40), ('b', 10, 40), ('b', 20, 40)):
        progress(stage, done, total)
    assert capsys.readouterr().err.splitlines() == [
        'a (100 s)', 'b (100 s)', 'b 25% (130 s, 90 s left)', 'b 50% (160 s, 60 s left)'
    ]  # fmt: skip


def test_sweep_scores_prints_the_table(files):
    done = tool('sweep_scores.py', files / 'gt.json', files / 'a.bbox.json', '--style', 'csv')
    lines = done.stdout.splitlines()
    assert lines[0] == ',AP,AP50,AP75,AP_S,AP_M,AP_L,oLRP'
    wanted = sweep_score_thresholds(GT, RESULTS)[0.2].summary()
    assert lines[3].split(',')[:2] == ['> 0.2', f'{100 * wanted["AP"]:.1f}']
    assert len(lines) == 7


def test_pack_results_writes_the_archive(test_set):
    args = [test_set.images, test_set.results, '--algorithm', 'x', '--out-dir', test_set.folder]
    done = tool('pack_results.py', 'coco', *args, '--any-images')
    assert done.stdout.strip() == str(test_set.folder / 'detections_test-dev2017_x_results.zip')
    assert Path(done.stdout.strip()).is_file()
    assert 'reading results' in done.stderr
    assert done.stderr.endswith('2 detections in 1 of 3 images\n')


def test_pack_results_takes_the_official_test_set_alone(test_set):
    args = [test_set.images, test_set.results, '--algorithm', 'x', '--out-dir', test_set.folder]
    done = tool('pack_results.py', 'coco', *args)
    assert done.returncode == 1
    assert 'images must be those of test-dev2017, of which there are 20288, got 3; ' in done.stderr
    assert 'there is --any-images' in done.stderr
    content = json.loads(test_set.images.read_text())
    for changed, message in (
        (dict(enumerate(COCO_CLASSES, 1)), 'they number otherwise stop sign 12 instead of 13, '),
        (dict(enumerate(VOC_CLASSES, 1)), 'they lack motorcycle, airplane, truck and '),
    ):
        content['categories'] = [dict(id=id, name=name) for id, name in changed.items()]
        test_set.images.write_text(json.dumps(content))
        done = tool('pack_results.py', 'coco', *args, '--any-images')
        assert done.returncode == 1 and message in done.stderr, done.stderr
    done = tool('pack_results.py', 'voc', *args[:2], '--out', test_set.folder / 'r.tgz')
    assert 'images must be those of VOC2012, whose names are like 2008_000001' in done.stderr
    assert sorted(path.name for path in test_set.folder.iterdir()) == ['d.json', 'images.json']
    done = tool(
        'pack_results.py', 'voc', *args[:2], '--out', test_set.folder / 'r.tgz', '--any-images'
    )
    assert (test_set.folder / 'r.tgz').is_file(), done.stderr


def test_pack_results_takes_other_classes_of_voc(files):
    (files / 'images.json').write_text(json.dumps(GT | dict(annotations=[])))
    args = [files / 'images.json', files / 'a.bbox.json', '--out', files / 'r.tgz']
    refused = tool('pack_results.py', 'voc', *args)
    assert refused.stderr.splitlines()[-1].startswith('error: images must have the 20 classes')
    assert not (files / 'r.tgz').exists()
    done = tool('pack_results.py', 'voc', *args, *MADE_UP)
    assert (files / 'r.tgz').is_file(), done.stderr


@pytest.mark.parametrize('name', ['eval_results.py', 'sweep_scores.py'])
@pytest.mark.parametrize('change', [dict(iscrowd=1), dict(area=1e11)])
def test_undefined_values_are_explained(files, name, change):
    annotations = [a | change for a in GT['annotations']]
    (files / 'gt.json').write_text(json.dumps(GT | dict(annotations=annotations)))
    done = tool(name, files / 'gt.json', files / 'a.bbox.json', '--style', 'csv')
    assert done.returncode == 0
    assert 'no object counts, so that every value is NaN' in done.stderr


def test_objects_too_large_to_count_are_told():
    gt = GT | dict(annotations=[GT['annotations'][0] | dict(area=1e11), *GT['annotations'][1:]])
    with pytest.warns(UserWarning, match='1 of .* objects do not count: their area is above 1e10'):
        sweep_score_thresholds(gt, RESULTS, (0.2,))


@pytest.mark.parametrize('name', ['eval_results.py', 'sweep_scores.py'])
def test_zeros_of_an_empty_result_are_explained(files, name):
    (files / 'none.json').write_text('[]')
    done = tool(name, files / 'gt.json', files / 'none.json', '--style', 'csv')
    assert done.returncode == 0
    assert 'empty: nothing was detected\n' in done.stderr
    assert '0.0' in done.stdout and '100.0' in done.stdout


def test_a_folder_that_cannot_be_made_is_one_line(files):
    args = (files / 'empty.json', files / 'a.bbox.json')
    out = ('--out', files / 'gt.json' / 'below' / 'r.tgz')
    done = tool('pack_results.py', 'voc', *args, *out, *MADE_UP)
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    assert done.stderr.splitlines()[-1].startswith('error: ')


@pytest.mark.parametrize(
    ('server', 'place', 'told'),
    [
        ('coco', 'gt.json', "--out-dir must be a folder, but '{}/gt.json' is a file"),
        ('coco', 'gt.json/below', "--out-dir must be a folder, but '{}/gt.json' is a file"),
        ('voc', 'gt.json/r.tgz', "--out must lie in a folder, but '{}/gt.json' is a file"),
        ('voc', 'folder.tgz', "--out must name a file, but '{}/folder.tgz' is a folder"),
    ],
)
def test_places_that_cannot_be_written_are_told_at_once(files, server, place, told):
    (files / 'folder.tgz').mkdir()
    absent = (files / 'absent.json', files / 'absent.json')
    options = ('--algorithm', 'x', '--out-dir') if server == 'coco' else ('--out',)
    done = tool('pack_results.py', server, *absent, *options, files / place)
    assert done.returncode == 1 and done.stderr == f'error: {told.format(files)}\n'


@pytest.mark.parametrize(
    'args',
    [
        ('eval_results.py', 'gt.json', 'absent.json'),
        ('sweep_scores.py', 'gt.json', 'gt.json'),
        ('pack_results.py', 'voc', 'empty.json', 'gt.json', *MADE_UP),
        ('pack_results.py', 'voc', 'empty.json', 'null.json', *MADE_UP),
    ],
)
def test_errors_are_one_line_and_a_status(files, args):
    done = tool(*(files / a if a.endswith('.json') else a for a in args))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith('error: results ')
    assert 'Traceback' not in done.stderr


def test_plain_functions_need_no_framework():
    code = (
        'import sys, rankdet.evaluation, rankdet.evaluation.submission, rankdet.evaluation.table\n'
        'found = {name.partition(".")[0] for name in sys.modules}\n'
        'print(sorted(found & {"torch", "mmengine", "mmcv", "mmdet", "pycocotools"}))'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == '[]', done.stderr
