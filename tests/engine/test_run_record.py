"""What a folder of a run says about how it came about."""

import json
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

import rankdet
from rankdet.engine import launch, provenance
from rankdet.engine.evaluation_notice import EvaluationNotice
from rankdet.engine.run_record import _append, describe_start
from tests.engine import tiny
from tests.tools import cli

RECORDED = ('configs/one/metafile.yml', 'configs/one/README.md', 'docs/records/smoke.jsonl')


@pytest.fixture
def repository(tmp_path):
    """A folder under git, and git in it."""
    folder = tmp_path / 'mine'

    def git(*arguments):
        command = ['git', '-C', folder, '-c', 'user.name=a', '-c', 'user.email=a@b.c', *arguments]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    for name in ('configs/one', 'docs/records'):
        (folder / name).mkdir(parents=True)
    for name in ('code.py', *RECORDED):
        (folder / name).write_text('1')
    git('init')
    git('add', '.')
    git('commit', '-m', 'x')
    return folder, git


def test_the_commit_of_the_code(repository, tmp_path):
    folder, git = repository
    assert provenance.commit(tmp_path) == 'unknown'
    commit = git('rev-parse', '--short=12', 'HEAD')
    assert provenance.commit(folder) == commit
    for name in RECORDED:
        (folder / name).write_text('2')
    assert provenance.commit(folder) == commit
    (folder / 'code.py').write_text('2')
    assert provenance.commit(folder) == f'{commit}-dirty'


def test_the_state_of_a_repository(repository, tmp_path, monkeypatch):
    folder, git = repository
    inner = folder / 'configs/one'
    head = git('rev-parse', '--short=12', 'HEAD')
    assert provenance.git_state(inner) == (str(folder), head, [])
    (folder / 'code.py').write_text('2')
    (folder / 'new.py').write_text('')
    assert provenance.git_state(inner).changed == [' M code.py', '?? new.py']
    git('config', 'core.fsmonitor', f'touch {tmp_path}/taken')
    provenance.git_state(inner)
    assert not (tmp_path / 'taken').exists()
    monkeypatch.setenv('PATH', '')
    assert provenance.git_state(inner) is None


def test_what_a_start_says(repository, monkeypatch, tmp_path):
    folder, git = repository
    (folder / 'code.py').write_text('2')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'orig_argv', ['python', 'tools/train.py', 'a b.py'])
    for name in ('DIGITS', 'RANKDET_MAX_JSON_MB', 'MY_SECRET'):
        monkeypatch.setenv(name, '7')
    found = describe_start('train', str(folder / 'config.py'))
    assert found['command'] == "python tools/train.py 'a b.py'" and found['cwd'] == str(tmp_path)
    (mine, *_) = found['git']
    assert mine == dict(
        folder=str(folder),
        commit=git('rev-parse', '--short=12', 'HEAD'),
        dirty=True,
        changed=[' M code.py'],
    )
    package = Path(rankdet.__file__).parent
    assert found['rankdet'] == dict(version=rankdet.__version__, folder=str(package))
    assert found['versions'].keys() >= {'python', 'torch'}
    assert found['environment'].items() >= {'DIGITS': '7', 'RANKDET_MAX_JSON_MB': '7'}.items()
    assert 'MY_SECRET' not in found['environment']


def test_every_start_has_an_entry(digits, tmp_path):
    run = tiny.train(tiny.load(digits, tmp_path / 'run', train_cfg__max_epochs=1))
    tiny.train(tiny.load(digits, run), resume='auto')
    launch.test(tiny.load(digits, run), str(run / 'epoch_2.pth'))
    entries = json.loads((run / 'run.json').read_text())
    assert [(entry['what'], entry['checkpoint']) for entry in entries] == [
        ('train', None),
        ('resume', str(run / 'epoch_1.pth')),
        ('test', str(run / 'epoch_2.pth')),
    ]
    assert {entry['seed'] for entry in entries} == {0}
    assert all('1 process' in e['device'] or e['device'].startswith('1 x ') for e in entries)
    assert [path.name for path in run.iterdir() if path.name.startswith('.')] == []
    assert any('run.json: ' in log.read_text() for log in run.glob('*/*.log'))


def test_a_file_that_is_no_list_stays_beside(tmp_path):
    (tmp_path / 'run.json').write_text('mine')
    _append(tmp_path / 'run.json', dict(a=1))
    _append(tmp_path / 'run.json', dict(a=2))
    assert json.loads((tmp_path / 'run.json').read_text()) == [dict(a=1), dict(a=2)]
    assert (tmp_path / 'run.json.old').read_text() == 'mine'


def test_the_end_of_a_training_names_commands_that_work(digits, tmp_path):
    config = tiny.write(tmp_path / 'config.py', digits)
    command = [sys.executable, cli.ROOT / 'tools/train.py', config, '--work-dir', 'my run']
    options = ['--cfg-options', 'train_cfg.max_epochs=1']
    (tmp_path / 'tools').symlink_to(cli.ROOT / 'tools')
    done = cli.run_alone([*command, *options], tmp_path)
    assert done.status == 0, done.err[-3000:]
    checkpoint, test, report = done.out.splitlines()[-3:]
    assert checkpoint == 'checkpoint: my run/epoch_1.pth'
    assert report == "report:     python tools/report.py 'my run'"
    assert test == "test it:    python tools/test.py 'my run/config.py' 'my run/epoch_1.pth'"
    _, *words = shlex.split(test.removeprefix('test it:'))
    again = cli.run_alone([sys.executable, *words], tmp_path)
    assert again.status == 0, again.err[-3000:]
    (entry, *_) = json.loads((tmp_path / 'my run/run.json').read_text())
    assert entry['command'].endswith("--work-dir 'my run' --cfg-options train_cfg.max_epochs=1")
    assert entry['cwd'] == str(tmp_path) and entry['what'] == 'train'


@pytest.mark.parametrize('seconds, said', [(0.0, True), (60.0, False)])
def test_a_long_evaluation_says_so(digits, tmp_path, monkeypatch, seconds, said):
    from mmdet.evaluation import CocoMetric

    measure = CocoMetric.compute_metrics

    def slowly(self, results):
        time.sleep(0.5)
        return measure(self, results)

    monkeypatch.setattr(CocoMetric, 'compute_metrics', slowly)
    monkeypatch.setattr(EvaluationNotice.__init__, '__defaults__', (seconds,))
    run = tiny.train(tiny.load(digits, tmp_path / 'run', train_cfg__max_epochs=1))
    launch.test(tiny.load(digits, tmp_path / 'test'), str(run / 'epoch_1.pth'))
    (log,) = (tmp_path / 'test').glob('*/*.log')
    assert ('evaluating the detections on 3 images ...' in log.read_text()) == said
