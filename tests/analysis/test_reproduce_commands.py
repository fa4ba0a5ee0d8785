"""How a run is ended, and kept apart from another one in the same folder: small real processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rankdet.analysis.reproduce.commands import (
    interrupted_by_sigterm,
    locked,
    run_command,
    shown,
    tool_command,
)
from rankdet.engine.errors import UserError

ROOT = Path(__file__).parents[2]
#: A training: it says that it is there, ends in order on SIGTERM, and at once without its folder.
TRAINING = """
import pathlib, signal, sys, time
def end(*_):
    pathlib.Path('ended').touch()
    sys.exit(143)
signal.signal(signal.SIGTERM, end)
pathlib.Path('begun').touch()
while pathlib.Path('begun').exists():
    time.sleep(0.02)
"""
RUN = f"""
import pathlib, sys
from rankdet.analysis.reproduce.commands import interrupted_by_sigterm, locked, run_command
try:
    with interrupted_by_sigterm(), locked(pathlib.Path('work')):
        run_command([sys.executable, '-c', {TRAINING!r}], {{}})
except KeyboardInterrupt as stop:
    assert pathlib.Path('ended').exists(), 'it did not wait'
    sys.exit(128 + stop.number)
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run whose training has begun."""
    monkeypatch.chdir(tmp_path)
    process = subprocess.Popen([sys.executable, '-c', RUN], env=os.environ | {'PYTHONPATH': ROOT})
    wait_for(Path('begun').exists)
    yield process
    Path('begun').unlink(missing_ok=True)
    process.kill()
    process.wait()


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def is_free():
    try:
        with locked(Path('work')):
            return True
    except UserError:
        return False


def test_sigterm_ends_the_training_too(run):
    run.terminate()
    assert run.wait(60) == 143
    assert Path('ended').exists() and is_free()


def test_a_second_run_in_the_same_folder(run):
    said = r'^another run is at work in work; .*--work-dir$'
    with pytest.raises(UserError, match=said), locked(Path('work')):
        raise AssertionError('both hold it')
    run.kill()  # the training goes on and still writes there
    run.wait()
    assert not is_free()
    Path('begun').unlink()
    wait_for(is_free)


def test_only_the_first_node_locks(tmp_path, monkeypatch):
    with locked(tmp_path / 'work'):
        monkeypatch.setenv('NODE_RANK', '1')
        with locked(tmp_path / 'work'):
            pass


def test_afterwards_sigterm_is_what_it_was():
    before = signal.getsignal(signal.SIGTERM)
    with interrupted_by_sigterm():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_command_as_a_process(monkeypatch, capfd):
    code = 'import os, sys; print(os.environ["RANKDET_A"]); sys.exit(5)'
    assert run_command([sys.executable, '-c', code], {'RANKDET_A': 'x y'}) == 5
    out = capfd.readouterr().out
    assert out.startswith('\n$ RANKDET_A=x y ') and out.endswith('x y\n')


@pytest.mark.parametrize(
    ('nodes', 'gpus', 'text'),
    [
        ('1', 1, 'A=b python tools/train.py c.py --resume'),
        ('1', 4, 'A=b bash tools/dist_train.sh c.py 4 --resume'),
        ('2', 4, 'A=b NNODES=2 bash tools/dist_train.sh c.py 4 --resume'),
        ('2', 1, 'A=b NNODES=2 bash tools/dist_train.sh c.py 1 --resume'),
    ],
)
def test_a_command_as_it_is_shown(nodes, gpus, text, monkeypatch):
    monkeypatch.setenv('NNODES', nodes)
    command = tool_command('train', Path('/somewhere'), gpus, ['c.py'], ['--resume'])
    assert shown(command, Path('/somewhere'), {'A': 'b'}) == text
