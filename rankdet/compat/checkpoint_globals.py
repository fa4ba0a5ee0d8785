"""What a checkpoint may name beside tensors and containers: all that MMEngine's own ones hold.

torch calls whatever is on this list, with any arguments that the file gives. What a checkpoint
needs of Python and numpy is wider than that allows: ``getattr`` reaches everything, and
``numpy.ndarray`` makes Python objects out of any bytes. Such names are on the list with a narrow
function in their place.
"""

from __future__ import annotations

import re
from types import FunctionType
from typing import Any

import numpy as np
from mmengine.logging import HistoryBuffer


def checkpoint_globals() -> list:
    """For ``torch.serialization.add_safe_globals``: what the files name, and what they get."""
    scalar: Any = np.float64().__reduce__()[0]
    array: Any = np.zeros(1).__reduce__()[0]
    codes = '?' + np.typecodes['AllInteger'] + np.typecodes['Float']
    numbers = {type(np.dtype(code)) for code in codes}
    return [
        HistoryBuffer,
        (_history_method, 'builtins.getattr'),
        (_no_bytes, 'builtins.bytes'),
        (_number_type, 'numpy.dtype'),
        (_array_type, 'numpy.ndarray'),
        # Files name numpy's module as numpy 1 or as numpy 2 did, whichever wrote them.
        *((_number, f'numpy.{core}.multiarray.{scalar.__name__}') for core in ('core', '_core')),
        *((_new_array, f'numpy.{core}.multiarray.{array.__name__}') for core in ('core', '_core')),
        # What torch sets the state of must be listed itself. No file can name these: there is a
        # line break in the names, and in a file a name ends at it.
        (np.ndarray, 'state\nof arrays'),
        *((kind, f'state\nof {kind.__name__}') for kind in numbers),
    ]


def _history_method(owner: type, name: str) -> FunctionType:
    """What a checkpoint may use getattr for: a statistic of HistoryBuffer, nothing else."""
    method = getattr(HistoryBuffer, name, None)
    if owner is not HistoryBuffer or name.startswith('_') or not callable(method):
        raise ValueError(f'a checkpoint asks for attribute {name!r} of {owner!r}: not loaded')
    return method


def _no_bytes() -> bytes:
    """bytes() of an empty array; with a number it would fill memory."""
    return b''


def _number_type(code: object, *_: object) -> np.dtype:
    """numpy.dtype, for numbers and truth values in the byte order of this machine.

    These are numpy's own objects, of which nothing can be changed afterwards, whereas the state of
    a copy could make objects out of numbers.
    """
    if not isinstance(code, str) or not re.fullmatch(r'[biuf]\d{1,2}', code):
        raise ValueError(f'a checkpoint asks for numpy type {code!r}, no number: not loaded')
    return np.dtype(code)


def _number(kind: np.dtype, content: bytes) -> np.generic:
    """A numpy scalar."""
    if not isinstance(kind, np.dtype) or not isinstance(content, bytes):
        raise ValueError(f'a checkpoint asks for a scalar of {kind!r}: not loaded')
    (value,) = np.frombuffer(content, kind)
    return value


def _new_array(*_: object) -> np.ndarray:
    """An empty array, whose shape, type and content are set afterwards."""
    return np.empty(0, np.int8)


def _array_type(*_: object) -> None:
    """Stands for numpy.ndarray where it is only named."""
    raise ValueError('a checkpoint calls numpy.ndarray, which may read any memory: not loaded')
