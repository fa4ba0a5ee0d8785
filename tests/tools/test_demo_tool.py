"""tools/demo.py, ended while its training runs: nobody is left, and it says how to go on."""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from rankdet.analysis.reproduce.commands import locked
from tests.tools import cli

SMALL = ('--train', '8', '--val', '2', '--epochs', '999', '--data', 'data', '--work-dir', 'run')
BOUND = 300  # seconds, many times what it takes: for tests that hang


@pytest.fixture
def demo(tmp_path):
    """A demo that has saved its first checkpoint, in a session of its own."""
    process = subprocess.Popen(
        [sys.executable, cli.ROOT / 'tools/demo.py', *SMALL],
        cwd=tmp_path,
        env=os.environ | {'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(cli.ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    end = time.monotonic() + BOUND
    try:
        while not (tmp_path / 'run/epoch_1.pth').exists():
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.1)
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.parametrize(
    'number, what', [(signal.SIGINT, 'interrupted'), (signal.SIGTERM, 'ended by SIGTERM')]
)
def test_an_interruption(number, what, demo, tmp_path):
    if number == signal.SIGINT:
        os.killpg(demo.pid, number)  # a terminal sends it to all of them
    else:
        demo.terminate()
    _, err = demo.communicate(timeout=BOUND)
    assert demo.returncode == 128 + number, err[-3000:]
    training, own = (line for line in err.splitlines() if line.startswith(what))
    assert own == f'{what}; call the same command again to go on'
    assert re.fullmatch(rf'{own} \(from run/epoch_\d+\.pth\)', training)
    with locked(tmp_path / 'run'):  # the training holds it too
        pass
