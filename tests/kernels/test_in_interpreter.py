"""The other tests of this folder in a process that asks for Triton's interpreter in time."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rankdet.kernels._device import INTERPRETED

FOLDER = Path(__file__).parent
TESTS = sorted(map(str, FOLDER.glob('test_*_kernels.py')))


@pytest.mark.skipif(
    INTERPRETED or torch.cuda.is_available(), reason='the tests of the kernels run right here'
)
def test_kernels_in_the_interpreter():
    done = subprocess.run(
        [sys.executable, '-m', 'pytest', '-p', 'no:cacheprovider', *TESTS],
        cwd=FOLDER.parents[1],
        env={**os.environ, 'TRITON_INTERPRET': '1'},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert ' passed' in done.stdout
