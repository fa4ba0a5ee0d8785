"""tools/reproduce.py: from a row of a table to a trained, tested and recorded result."""

import csv
import io
import json
import os
import signal
import time

import pytest
from mmengine.fileio import dump, load

from rankdet.analysis.reproduce.estimate import Estimate, as_text
from tests.engine import tiny
from tests.engine.tiny import digits  # noqa: F401
from tests.tools import cli

ROWS = [
    {'Name': 'ap', 'Label': 'AP Loss', 'Model': 'net', 'Paper': {'AP': 50.0, 'AP50': None}},
    {'Name': 'more', 'Model': 'net', 'Test Options': {'model.test_cfg.max_per_img': 5}},
    {'Name': 'quoted', 'Paper': {'AP': 40.0}},
]


@pytest.fixture
def configs(digits, tmp_path, monkeypatch):  # noqa: F811
    """configs/digits with a metafile beside it, and the tools."""
    for name in ('NNODES', 'NODE_RANK', 'BACKBONES'):
        monkeypatch.delenv(name, raising=False)
    # Configs written as they are: formatting them takes longer than everything else.
    monkeypatch.setattr('rankdet.compat.quirks.formatted', '{}\n'.format)
    folder = tmp_path / 'configs' / 'digits'
    folder.mkdir(parents=True)
    (tmp_path / 'tools').symlink_to(cli.ROOT / 'tools')
    tiny.write(folder / 'net.py', digits, train_cfg__max_epochs=1)
    table = {'Name': 'digits', 'Title': 'Digits', 'Data': 'digits', 'Columns': ['AP', 'AP50']}
    models = [dict(Name='net', Config='configs/digits/net.py')]
    metafile = dict(Models=models, Tables=[table | dict(Rows=ROWS)])
    dump(metafile, str(folder / 'metafile.yml'), file_format='yml', sort_keys=False)
    return tmp_path / 'configs'


@pytest.fixture
def reproduce(tool, configs):
    return lambda *arguments: tool('reproduce', '--configs', configs, *arguments)


@pytest.fixture
def inside(monkeypatch, capsys):
    """Trainings and tests run in this process, which is quicker."""
    calls = []

    def run(command, variables):
        calls.append(command)
        name = command[1].rpartition('/')[2].removesuffix('.py')
        return cli.run_inside(monkeypatch, capsys, name, *command[2:]).status

    monkeypatch.setattr('rankdet.analysis.reproduce.run.run_command', run)
    return calls


def test_from_a_row_to_a_recorded_result(reproduce, inside, configs):
    done = reproduce('run', 'digits', '--record')
    assert done.status == 0, done.err
    assert '3 rows, 0 failed' in done.out
    assert [command[1].rpartition('/')[2] for command in inside] == [
        'train.py',
        'test.py',
        'test.py',
    ]
    first, second, quoted = load(str(configs / 'digits/metafile.yml'))['Tables'][0]['Rows']
    assert quoted['Paper'] == {'AP': 40.0} and 'Ours' not in quoted
    assert 0 <= first['Ours']['Metrics']['AP'] <= 100
    assert second['Ours']['Command'].endswith('--cfg-options model.test_cfg.max_per_img=5')
    assert first['Ours']['Command'].startswith('python tools/train.py configs/digits/net.py')

    (shown,) = json.loads(reproduce('show', 'digits', '--format', 'json').out)
    numbers = shown['rows'][0]['numbers']['AP']
    assert numbers['paper'] == 50.0 and numbers['ours'] == first['Ours']['Metrics']['AP']
    assert numbers['difference'] == pytest.approx(round(numbers['ours'], 1) - 50.0)
    assert 'digits/digits: Digits (2 of 2 rows measured)' in reproduce('list').out

    assert reproduce('run', 'digits/digits/ap').status == 0 and len(inside) == 3


def test_a_result_is_shown_before_it_is_recorded(reproduce, inside, configs):
    before = (configs / 'digits/metafile.yml').read_text()
    assert reproduce('run', 'digits/more').status == 0
    assert (configs / 'digits/metafile.yml').read_text() == before
    rows = csv.DictReader(io.StringIO(reproduce('show', 'digits', '--format', 'csv').out))
    assert [bool(row['AP ours']) for row in rows] == [False, True, False]
    assert not reproduce('show', 'digits', '--work-dir', 'none').out.count('more:')
    assert reproduce('record', 'digits/more').status == 0
    assert reproduce('show', 'digits', '--work-dir', 'none').out.count('more: command python') == 1


def test_a_failure_is_the_exit_status(reproduce, monkeypatch):
    monkeypatch.setattr('rankdet.analysis.reproduce.run.run_command', lambda *arguments: 1)
    done = reproduce('run', 'digits')
    assert done.status == 1
    assert 'training ended with status 1' in done.err and '3 rows, 2 failed' in done.out


def test_an_interruption(reproduce, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr('rankdet.analysis.reproduce.run.run_command', interrupt)
    done = reproduce('run', 'digits')
    assert done.status == 130 and done.err.strip() == 'interrupted; the same command goes on'


def test_a_schedulers_end(reproduce, monkeypatch):
    def end(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)

    monkeypatch.setattr('rankdet.analysis.reproduce.run.run_command', end)
    done = reproduce('run', 'digits')
    assert done.status == 143 and done.err.strip() == 'interrupted; the same command goes on'


def test_what_there_is(reproduce):
    done = reproduce('list')
    assert 'digits/digits: Digits (0 of 2 rows measured)' in done.out
    assert 'not measured, digits -> digits, net, model.test_cfg.max_per_img=5' in done.out
    assert reproduce('list', 'digits/digits').out == done.out
    shown = reproduce('show', 'digits').out
    assert '| AP Loss | 50.0 |' in shown and '†' in shown


@pytest.mark.parametrize(
    'arguments, words',
    [
        (['show', 'digit'], ["no table or row 'digit'", 'nearest: digits']),
        (['run', 'digits/digits/app'], ['nearest: digits/digits/ap']),
        (['estimate', 'digits'], ['takes one row', 'has 3']),
        (['record', 'digits'], ['takes one row', 'has 3']),
        (['record', 'digits/ap', 'AP=1'], ['no number stands without a run']),
        (['estimate', 'digits/quoted'], ['there is nothing to train']),
        (['run', 'digits/quoted', '--smoke'], ['nothing to run']),
    ],
)
def test_a_mistake_is_one_line(reproduce, arguments, words):
    done = reproduce(*arguments)
    assert done.status == 1
    (line,) = done.err.splitlines()
    assert line.startswith('error: ') and all(word in line for word in words), line


def test_a_fault_of_a_metafile_is_one_line(reproduce, configs):
    path = configs / 'digits/metafile.yml'
    path.write_text(path.read_text().replace('Model: net', 'Model: nett'))
    done = reproduce('list')
    (line,) = done.err.splitlines()
    assert done.status == 1 and str(path) in line and "no model 'nett'" in line


def test_missing_data_stop_before_training(reproduce, inside, configs):
    config = configs / 'digits/net.py'
    data = load_data_root(config)
    config.write_text(config.read_text().replace(data, 'nowhere/'))
    done = reproduce('run', 'digits/ap')
    assert done.status == 1 and not inside
    assert 'error: digits/digits/ap: ' in done.err and 'nowhere' in done.err


def load_data_root(config):
    from mmengine.config import Config

    return Config.fromfile(config).val_dataloader.dataset.data_root


def test_an_estimate(reproduce, configs):
    done = reproduce('estimate', 'digits/ap', '--format', 'json')
    assert done.status == 0, done.err
    found = json.loads(done.out)
    # 6 images on 4 processes with 2 images each; one epoch.
    assert (found['gpus'], found['batch'], found['images_per_epoch']) == (4, 2, 6)
    assert (found['iterations'], found['images']) == (1, 8)
    assert found['seconds'] > 0 and 0 < found['memory_gb'] < 16
    assert found['extrapolated'] == [] and found['row'] == 'digits/digits/ap'
    assert (found['gpu_hours'] is None) == found['device'].startswith('CPU')
    text = as_text(Estimate(**found))
    assert '4 x 2 images' in text and '1 iterations, 8 images' in text
