"""Kernels run on the GPU where there is one, else in the interpreter of Triton.

The interpreter must be asked for before Triton is imported. Where something else has imported it,
a process of its own runs the tests of this folder, see ``test_in_interpreter.py``.
"""

import os
import sys
from pathlib import Path

import pytest
import torch

if not torch.cuda.is_available() and 'triton' not in sys.modules:
    os.environ.setdefault('TRITON_INTERPRET', '1')

pytest.importorskip('triton', reason='needs triton')

from rankdet.functional import use_kernels
from rankdet.kernels._device import INTERPRETED

if not torch.cuda.is_available() and not INTERPRETED:
    collect_ignore = [path.name for path in Path(__file__).parent.glob('test_*_kernels.py')]


@pytest.fixture(autouse=True)
def faster_interpreter(monkeypatch):
    """Without its checks for overflow of integers, which take a third of its time."""
    if INTERPRETED:
        from triton.runtime import interpreter

        options = interpreter.InterpreterOptions(sanitize_overflow=False)
        monkeypatch.setattr(interpreter.interpreter_builder, 'options', options)


@pytest.fixture(autouse=True)
def choice_is_given_back():
    with use_kernels('auto'):
        yield
