"""How far a long attack is, and how long it will still take."""

from __future__ import annotations

import sys
import time


class TimeLeft:
    """Shows share done and time left on standard error.

    On a terminal one line is written over and over; elsewhere a line appears every ten seconds.
    What was done before a resume does not count for the speed.

    Args:
        what: is being done.
        total: steps.
        done: steps that an earlier run has done.
    """

    def __init__(self, what: str, total: int, done: int = 0) -> None:
        self.what, self.total, self._first = what, total, done
        self._start = self._last = time.monotonic()
        self._terminal = sys.stderr.isatty()

    def __call__(self, done: int, note: str = '') -> None:
        """Say that ``done`` steps are over.

        Args:
            done: of all, those of earlier runs included.
            note: shown at the end of the line.
        """
        now = time.monotonic()
        if now - self._last < (0.2 if self._terminal else 10) and done < self.total:
            return
        self._last = now
        fresh = done - self._first
        left = (now - self._start) / fresh * (self.total - done) if fresh else 0.0
        line = f'{self.what}: {done}/{self.total}, {spoken(left)} left  {note}'.rstrip()
        end = '\n' if not self._terminal or done >= self.total else ''
        print(f'\r{line:<79}' if self._terminal else line, end=end, file=sys.stderr, flush=True)


def spoken(seconds: float) -> str:
    """A duration in two units at most.

    >>> spoken(42), spoken(600), spoken(7260)
    ('42 s', '10 min 0 s', '2 h 1 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f'{rest} s'
    return f'{minutes} min {rest} s' if minutes < 60 else f'{minutes // 60} h {minutes % 60} min'
