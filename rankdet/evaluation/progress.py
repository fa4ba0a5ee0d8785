"""Telling how far a long evaluation is."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

#: Called as ``progress(stage, done, total)`` by everything here that may take seconds.
Progress = Callable[[str, int, int], None]


def silent(stage: str, done: int, total: int) -> None:
    """The progress report that reports nothing."""


class StderrProgress:
    """Shows stage, share, seconds and about how many are left of the stage on standard error.

    On a terminal one line is written over and over; elsewhere a line appears where a new stage
    begins, and then at most every ten seconds. Used in a ``with`` block, which clears the line.

    Args:
        title: what is being evaluated.
    """

    def __init__(self, title: str = '') -> None:
        self.title = title
        self._start = time.monotonic()
        self._stage: str | None = None
        self._began = (0.0, 0)
        self._last = -10.0

    def __call__(self, stage: str, done: int, total: int) -> None:
        now, terminal = time.monotonic() - self._start, sys.stderr.isatty()
        pause = 0.1 if terminal else 10
        if stage == self._stage and now - self._last < pause:
            return
        if stage != self._stage:
            self._began = now, done
        self._stage, self._last = stage, now
        share = f' {100 * done // total}%' if total and done else ''
        line = f'{self.title} {stage}{share} ({now:.0f} s{self._left(now, done, total)})'.strip()
        text = f'\r{line:<79}' if terminal else f'{line}\n'
        print(text, end='', file=sys.stderr, flush=True)

    def _left(self, now: float, done: int, total: int) -> str:
        start, before = self._began
        if done <= before or not total:
            return ''
        return f', {(now - start) * (total - done) / (done - before):.0f} s left'

    def __enter__(self) -> StderrProgress:
        return self

    def __exit__(self, *error: object) -> None:
        if sys.stderr.isatty():
            print(f'\r{"":<79}\r', end='', file=sys.stderr, flush=True)
