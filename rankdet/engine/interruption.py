"""Ctrl-C and a scheduler's SIGTERM end a training at once, in order, saying how it goes on."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from mmengine.hooks import Hook

from rankdet.commands import how_to_go_on

from .checkpoints import latest_checkpoint
from .errors import Interrupted

_COPIES = 1.0  # seconds in which a launcher passes on what its group got already


class Interruption(Hook):
    """Ends training by :class:`Interrupted` on SIGINT or SIGTERM, and adds how to go on to errors.

    There is nothing to finish first: checkpoints are written whole or not at all
    (:mod:`.whole_files`), and a resumed run repeats what came after its checkpoint exactly.

    Args:
        work_dir: the run's folder.
        go_on: what goes on with the run; default: the option ``--resume``, or what the command says
            that has started this one.

    Example:
        >>> with Interruption(cfg.work_dir) as interruption:  # doctest: +SKIP
        ...     runner = Runner.from_cfg(cfg)
        ...     runner.register_hook(interruption)
        ...     runner.train()
    """

    def __init__(self, work_dir: str, go_on: str | None = None) -> None:
        self.work_dir = work_dir
        self.go_on = go_on or how_to_go_on()
        self.received: int | None = None
        self.when = 0.0
        self.ending = False
        self.started = False
        self.before: dict = {}

    def before_train_iter(self, *args: Any, **kwargs: Any) -> None:
        self.started = True
        self.check()

    def _before_epoch(self, *args: Any, **kwargs: Any) -> None:  # of training, validation or test
        self.check()

    def _before_iter(self, *args: Any, **kwargs: Any) -> None:
        self.check()

    def _after_iter(self, *args: Any, **kwargs: Any) -> None:
        self.check()

    def after_run(self, *args: Any, **kwargs: Any) -> None:
        self.check()

    def check(self) -> None:
        """Raise if a signal has arrived.

        Python drops an exception that a handler raises inside a destructor or a hook of a fork.
        """
        if self.received:
            raise Interrupted(self.received)

    def __enter__(self) -> Interruption:
        self.process = os.getpid()
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
                    self.before[number] = signal.signal(number, self._receive)
        return self

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self.process:  # a child that was forked
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        now = time.monotonic()
        if not (self.ending or (self.received and now - self.when < _COPIES)):
            self.received, self.when = number, now
            # Data workers end too; torch would raise that, anywhere.
            signal.signal(signal.SIGCHLD, lambda *_: None)
            raise Interrupted(number)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.ending = True
        # A launched process ends now: the launcher's copy of the signal must not break that.
        if not (self.received and 'RANK' in os.environ):
            for number, handler in self.before.items():
                signal.signal(number, handler)
        if error is None:
            return
        stop: Any = error
        if self.received and not isinstance(error, Interrupted):
            stop = Interrupted(self.received)  # what broke, broke because others were ended, too
        if self.started:
            with _data_workers_may_end():
                stop.remedy = self._remedy(isinstance(stop, Interrupted))
        if stop is not error:
            raise stop from error

    def _remedy(self, always: bool) -> str:
        checkpoint = latest_checkpoint(self.work_dir)
        if checkpoint is None:
            return 'no checkpoint was saved yet' if always else ''
        return f'{self.go_on} (from {checkpoint})'


@contextmanager
def _data_workers_may_end() -> Iterator[None]:
    """Keep torch from raising, in between, that a data worker was lost.

    What a lost worker sent breaks off, and that ends the run, before the kernel reports its death.
    """
    if threading.current_thread() is not threading.main_thread():  # signals go to that one
        yield
        return
    before = signal.signal(signal.SIGCHLD, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL if before is None else before)
