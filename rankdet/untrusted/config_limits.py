"""Limits on what a config that is not run may grow into; :mod:`.configs` asks before it builds."""

from __future__ import annotations

import io
from itertools import chain
from typing import Any, NamedTuple

from .limits import Refused
from .names import visible

MOST_VALUES = 200_000  # in all; lists that hold each other's copies grow without bound
_TEXT = 50  # characters that count as a value
_DEEPEST = 64
LONGEST = 10**5  # of a string, list or dict that is put together
_LONGEST_SHOWN = 2 * 10**7  # characters, most of them indentation
LARGEST_INT = 10**30


class Unread(NamedTuple):
    """What would have to be run to know it; also stands where its value would be.

    Attributes:
        file, line: where it is.
        source: its text, on one line.
    """

    file: str
    line: int
    source: str

    def __str__(self) -> str:
        return visible(' '.join(f'{self.file}:{self.line}: {self.source}'.split()))

    def __repr__(self) -> str:
        return f'<{self}>'


class NotPlain(Exception):
    """An expression that would have to be run."""


def sequence(found: Any) -> list | tuple:
    if not isinstance(found, (list, tuple)) or isinstance(found, Unread):
        raise NotPlain
    return found


def number(found: Any) -> Any:
    if not isinstance(found, (int, float)) or (type(found) is int and abs(found) > LARGEST_INT):
        raise NotPlain
    return found


def as_key(found: Any) -> Any:
    """What a dict or set may hash: a tuple of tuples of tuples would take for ever."""
    if type(found) is int:
        return number(found)
    if count(found, LONGEST) <= 0:
        raise NotPlain
    return found


def merged(new: dict, old: dict) -> dict:
    """``new`` over ``old``, as MMEngine merges a config into its base."""
    found = dict(old)
    for key, value in new.items():
        if isinstance(value, dict) and key in old:
            below = {} if value.get('_delete_', False) else old[key]
            value = {k: v for k, v in value.items() if k != '_delete_'}
            value = merged(value, below) if isinstance(below, dict) and below else value
        found[key] = value
    return found


def deletes(value: Any) -> bool:
    """Whether it has a ``_delete_`` anywhere."""
    if isinstance(value, (dict, list, tuple)) and not isinstance(value, Unread):
        inner = value.values() if isinstance(value, dict) else value
        return '_delete_' in value or any(map(deletes, inner))
    return False


def count(value: Any, budget: int, depth: int = 0) -> int:
    """What is left of a budget after one for each value and for each :data:`_TEXT` characters.

    Raises:
        RecursionError: it nests deeper than :data:`_DEEPEST`.
    """
    budget -= 1
    if isinstance(value, (str, bytes)):
        return budget - len(value) // _TEXT
    if depth > _DEEPEST:
        raise RecursionError
    if isinstance(value, (dict, list, tuple, set)):
        inner = chain(value, value.values()) if isinstance(value, dict) else value
        for item in inner:
            if budget <= 0:
                break
            budget = count(item, budget, depth + 1)
    return budget


class Bounded(io.StringIO):
    """Text that does not grow beyond a length."""

    def write(self, text: str) -> int:
        if self.tell() + len(text) > _LONGEST_SHOWN:
            raise Refused(f'the config would be shown in more than {_LONGEST_SHOWN} characters')
        return super().write(text)
