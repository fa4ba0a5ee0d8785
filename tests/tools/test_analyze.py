"""tools/analyze.py and tools/report.py from end to end on tiny runs."""

import importlib
import json
import shutil

import pytest
from mmengine.config import Config

import rankdet.plugin  # noqa: F401
from rankdet.analysis.figures import open_runs
from tests.analysis.test_report import check_page
from tests.engine import tiny

ALRP = dict(
    model__bbox_head__loss_cls=dict(_delete_=True, type='aLRPLoss'),
    model__bbox_head__loss_bbox=dict(_delete_=True, type='GIoULoss'),
    model__bbox_head__reg_decoded_bbox=True,
    custom_hooks=[dict(type='SelfBalanceHook')],
    default_hooks__recorder=dict(type='LossRecorder', memory=True),
    train_cfg__val_interval=1,
)


@pytest.fixture(scope='module')
def recorded(digits, tmp_path_factory):
    """Two epochs of aLRP Loss, validated after each, with everything recorded."""
    cfg = tiny.load(digits, tmp_path_factory.mktemp('recorded') / 'a <run>', **ALRP)
    return tiny.train(cfg)


@pytest.fixture
def analyze(tool, tmp_path):
    """Run a sub-command and read the data that it leaves."""

    def run(command, *arguments):
        done = tool('analyze', command, *arguments)
        assert done.status == 0, done.err
        out = tmp_path / 'work_dirs/analysis'
        for suffix in ('png', 'svg', 'json'):
            assert (out / f'{command}.{suffix}').stat().st_size > 100
        assert done.out.splitlines()[-1].endswith(('.json',))
        return json.loads((out / f'{command}.json').read_text())

    return run


def test_ap_curves_from_the_log_and_measured_anew(analyze, recorded):
    logged = analyze('ap-curves', recorded, '--metric', 'AP50')['curves'][0]
    measured = analyze('ap-curves', recorded, '--metric', 'AP50', '--measure')['curves'][0]
    assert logged['label'] == 'aLRP' and logged['steps'] == measured['steps'] == [3, 6]
    assert measured['mean'] == pytest.approx(logged['mean'], abs=2e-3)  # logs are rounded


def test_figures_of_a_checkpoint(analyze, recorded, tmp_path):
    (panel,) = analyze('scatter', recorded / 'epoch_1.pth', '--points', '9')['panels']
    assert len(panel['negative']['iou']) == 9
    data = analyze('densities', recorded, '--labels', 'mine', '--images', '2', '--bins', '5')
    assert data['curves'][0]['label'] == 'mine' and len(data['edges']) == 6
    assert (tmp_path / 'work_dirs/analysis/densities-by-run.png').exists()
    data = analyze('loss-cost', recorded, '--batch-sizes', '1', '2', '--rounds', '1')
    assert data['batch_sizes'] == [1, 2]


def test_push_prints_a_table(tool, recorded, tmp_path):
    done = tool('analyze', 'push', recorded, '--labels', 'mine')
    assert done.status == 0, done.err
    rows = [line for line in done.out.splitlines() if line.startswith('| mine |')]
    assert [row.split(' | ')[1] for row in rows] == ['AP', 'AUC', 'focal']
    (panel,) = json.loads((tmp_path / 'work_dirs/analysis/push.json').read_text())['panels']
    positives, negatives = (panel['losses']['AP'][key] for key in ('positives', 'negatives'))
    assert positives > 0 and panel['ranks'][-1] == negatives
    assert panel['profile']['AUC'][-1] == pytest.approx(1)


def test_push_wants_scores_of_each_class(tool, digits, tmp_path):
    softmax = dict(_delete_=True, type='OHEMCrossEntropyLoss', use_sigmoid=False)
    cfg = tiny.load(digits, tmp_path / 'softmax', model__bbox_head__loss_cls=softmax)
    done = tool('analyze', 'push', tiny.train(cfg))
    assert done.status == 1
    (line,) = [line for line in done.err.splitlines() if line.startswith('error: ')]
    assert 'softmax' in line


def test_figures_of_a_training(analyze, recorded):
    (curve,) = analyze('balance', recorded)['curves']
    assert curve['steps'] == [1, 2, 3, 4, 5, 6]
    (curve,) = analyze('gradients', recorded)['curves']
    assert curve['ratio']['mean'] == pytest.approx([1] * 6, rel=1e-3)  # Theorem 2
    (curve,) = analyze('loss-time', recorded, '--window', '1')['curves']
    assert curve['loss_bytes']['steps'] == [2, 3, 4, 5, 6]


def test_figures_of_formulas(analyze):
    assert len(analyze('drift', '--samples', '1000', '--positives')['panels']) == 2
    assert len(analyze('surrogates', '--smoothness', '6', '3')['curves']) == 4


def test_trainings_of_their_own(analyze, config, monkeypatch):
    module = importlib.import_module('rankdet.analysis.figures.convergence')
    monkeypatch.setattr(module, 'METHODS', {'error-driven update': 'APLoss'})
    options = ('--iterations', '1', '--work-dir', 'trials')
    assert len(analyze('convergence', config, *options)['curves']) == 1
    assert analyze('imbalance', config, *options, '--samples', '9')['curves'][0]['samples'] == [9]


def test_another_place(tool, tmp_path):
    assert tool('analyze', 'surrogates', '--out', tmp_path / 'x/y').status == 0
    assert sorted(p.name for p in (tmp_path / 'x').iterdir()) == ['y.json', 'y.png', 'y.svg']


def test_report(tool, recorded, trained, tmp_path):
    """Of a run with everything, whose folder's name is hostile, and of one with little."""
    done = tool('report', recorded, trained, '--out', 'r.html', '--pictures', '1', '--title', '<i>')
    assert done.status == 0 and done.out.splitlines()[-1].startswith('r.html (')
    text = (tmp_path / 'r.html').read_text()
    read, pictures = check_page(text)
    words = ''.join(read.text)
    assert '<i>' in words and 'i' not in read.tags and 'a <run>' in words
    for part in ('Metrics', 'aLRP', 'AP against iterations', 'Score against IoU', 'Best images'):
        assert part in words
    left_out = [text for text in read.text if text.startswith('Left out')]
    assert len(left_out) == 4 and all(
        text.startswith('Left out: AP, because ') for text in left_out
    )
    # 9 of analyses, and of each run its training, and of one best and one worst image the truth and
    # what was found.
    assert pictures == 9 + 2 * 5
    assert words.count('Not included: ') == 2
    assert "type='aLRPLoss'" in words and "type='APLoss'" in words


def test_a_report_says_what_it_leaves_out(tool, trained, tmp_path):
    copy = shutil.copytree(trained, tmp_path / 'copy')
    for log in copy.glob('*/vis_data/scalars.json'):
        log.unlink()
    assert tool('report', copy, '--out', 'r.html', '--pictures', '0').status == 0
    words = ''.join(check_page((tmp_path / 'r.html').read_text())[0].text)
    assert 'Left out: this run has no log.' in words
    assert 'Left out: AP, because it was not trained with the LossRecorder.' in words
    assert 'Left out: AP, because it was never validated while it trained' in words
    assert 'Left out: AP, because it has no log.' in words


def test_a_report_with_results_that_are_there(tool, trained, tmp_path):
    assert tool('analyze', 'drift', '--samples', '1000').status == 0
    cell = dict(AP=0.25, AP50=0.5, images=3, objects=9)
    fool = dict(L2=70.125, relative=0.1, fooled=4, withstood=0, missed=5, images=3)
    rows = [dict(name='<b>', cells=dict(original=cell, deepfool=fool)),
            dict(name='c', cells=dict(original=cell | dict(AP=None)))]  # fmt: skip
    (tmp_path / 'robustness.json').write_text(json.dumps(rows))
    files = ('robustness.json', 'work_dirs/analysis/drift.json')
    options = ('--out', 'r.html', '--pictures', '0', '--include')
    done = tool('report', trained, *options, *files)
    assert done.status == 0, done.err
    read, _ = check_page((tmp_path / 'r.html').read_text())
    words = ''.join(read.text)
    assert 'A distribution under lambda' in words and 'Robustness' in words
    assert '<b>50.025.070.1c' in words and '4 objects fooled, none withstood' in words
    assert 'Not included: convergence, imbalance, surrogates, which' in words
    for content, reason in (
        ('[]', 'holds no results'), ('{"figure": "x"}', 'holds no results'),
        ('{"figure": "drift"}', "cannot be shown (KeyError: 'panels')"),
    ):  # fmt: skip
        (tmp_path / 'bad.json').write_text(content)
        done = tool('report', trained, *options, 'bad.json')
        (line,) = [line for line in done.err.splitlines() if line.startswith('error: ')]
        assert done.status == 1 and 'bad.json' in line and reason in line


def test_a_report_of_two_seeds_and_of_other_data(tool, trained, own_data, edit_json, tmp_path):
    """Each run has its own row and curve; of runs tested on different images none is best."""
    same, other = (shutil.copytree(trained, tmp_path / name) for name in ('same', 'other'))
    done = tool('report', trained, same, '--out', 'same.html', '--pictures', '0')
    assert done.status == 0, done.err
    text = (tmp_path / 'same.html').read_text()
    assert 'AP (run)' in text and 'AP (same)' in text and 'class="best"' in text
    assert 'different data' not in text

    def first_two(content):
        content['images'] = content['images'][:2]
        kept = [image['id'] for image in content['images']]
        content['annotations'] = [a for a in content['annotations'] if a['image_id'] in kept]

    edit_json(own_data / 'annotations/instances_val.json', first_two)
    cfg = Config.fromfile(next(trained.glob('*.py')))
    cfg.merge_from_dict(tiny.at(own_data))
    (path,) = other.glob('*.py')
    cfg.dump(path)
    done = tool('report', trained, other, '--out', 'other.html', '--pictures', '0')
    assert done.status == 0, done.err
    text = (tmp_path / 'other.html').read_text()
    words = ''.join(check_page(text)[0].text)
    assert 'Tested on different data: the rows cannot be compared.' in words
    assert 'on 3 images with' in words and 'on 2 images with' in words and 'in data)' in words
    assert 'class="best"' not in text


def test_names_of_a_report_are_unique(tmp_path):
    from rankdet.analysis.report.build import _names

    (tmp_path / 'a/x').mkdir(parents=True)
    (tmp_path / 'b/x').mkdir(parents=True)
    files = [
        tmp_path / 'a/x/epoch_1.pth',
        tmp_path / 'a/x/epoch_2.pth',
        tmp_path / 'b/x/epoch_2.pth',
    ]
    for file in files:
        file.touch()
    runs = open_runs([*files, tmp_path], labels=['AP'] * 3 + ['DR'])
    assert _names(runs) == ['AP (x) (epoch_1.pth)', 'AP (x) (epoch_2.pth) (2)',
                            'AP (x) (epoch_2.pth) (3)', 'DR']  # fmt: skip


@pytest.fixture
def run_without(trained, tmp_path):
    """A copy of a run that lacks something."""

    def make(what):
        copy = shutil.copytree(trained, tmp_path / 'copy')
        for path in copy.glob(what):
            path.unlink()
        return copy

    return make


@pytest.mark.parametrize(
    'command, lacks, words',
    [
        (['analyze', 'scatter'], '*.py', ['has no config (*.py) beside it', '--config FILE']),
        (['report'], '*.py', ['has no config (*.py) beside it', '--config FILE']),
        (['analyze', 'densities'], '*.pth', ['holds no checkpoint']),
        (['report'], '*.pth', ['holds no checkpoint']),
        (['analyze', 'balance'], '*/vis_data/scalars.json', ['holds no log']),
        (['analyze', 'gradients'], 'none', ['holds no losses.jsonl', 'LossRecorder']),
        (['analyze', 'balance'], 'none', ['has no aLRP Loss']),
    ],
)
def test_one_line_for_what_is_missing(tool, run_without, command, lacks, words):
    done = tool(*command, run_without(lacks))
    assert done.status == 1
    (line,) = [line for line in done.err.splitlines() if line.startswith('error: ')]
    assert 'copy' in line and all(word in line for word in words)


@pytest.mark.parametrize(
    'command, words',
    [
        (['analyze', 'densities', '{run}', '--device', 'gpu'], ["device 'gpu' cannot be used"]),
        (['report', '{run}', '--device', 'gpu'], ["device 'gpu' cannot be used"]),
        (['analyze', 'scatter', '{run}', '--images', '0'], ['images must be at least 1, got 0']),
        (['report', '{run}', '--images', '-3'], ['images must be at least 1, got -3']),
        (['report', '{run}', '--include', 'none.json'], ['none.json does not exist']),
    ],
)
def test_one_line_for_a_wrong_option(tool, trained, command, words):
    done = tool(*(part.format(run=trained) for part in command))
    (line,) = [line for line in done.err.splitlines() if line]
    assert done.status == 1 and line.startswith('error: '), done.err
    assert all(word in line for word in words)


@pytest.mark.parametrize('command', [['analyze', 'densities'], ['report']])
def test_a_data_set_without_boxes(tool, trained, own_data, edit_json, tmp_path, command):
    truth = own_data / 'annotations/instances_val.json'
    edit_json(truth, lambda content: content.update(annotations=[]))
    cfg = Config.fromfile(next(trained.glob('*.py')))
    cfg.merge_from_dict(tiny.at(own_data))
    cfg.dump(tmp_path / 'config.py')
    done = tool(*command, trained, '--config', 'config.py')
    assert done.status == 1
    (line,) = [line for line in done.err.splitlines() if line.startswith('error: ')]
    assert 'instances_val.json' in line and ('no boxes' in line or 'no annotations' in line)


@pytest.mark.parametrize('command', [['analyze', 'scatter'], ['report']])
def test_a_checkpoint_of_another_config(tool, trained, digits, tmp_path, command):
    other = tiny.write(tmp_path / 'other.py', digits, model__neck__out_channels=8,
                       model__bbox_head__in_channels=8)  # fmt: skip
    done = tool(*command, trained, '--config', other)
    assert done.status == 1
    (line,) = [line for line in done.err.splitlines() if line.startswith('error: ')]
    assert 'does not fit this config' in line and 'use the config of its training' in line
