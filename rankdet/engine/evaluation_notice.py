"""What a log says about evaluations beside the measures: that they run, and when."""

from __future__ import annotations

import threading
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner


class EvaluationNotice(Hook):
    """Logs that the evaluation runs, and on how many images, once it has taken some seconds.

    Between the last image and the measures there may be minutes. The record of a validation also
    gets ``iter``, the iterations so far: by itself it says the epoch, and LoggerHook logs no
    training at the end of an epoch that its interval does not divide.

    Args:
        seconds: before it says so.
    """

    priority = 'NORMAL'  # before LoggerHook

    def __init__(self, seconds: float = 3.0) -> None:
        self.seconds = seconds
        self._timer: threading.Timer | None = None

    def _begin(self, runner: Runner, batch_idx: int, loader: Any) -> None:
        if batch_idx + 1 < len(loader):
            return
        text = f'evaluating the detections on {len(loader.dataset)} images ...'
        self._timer = threading.Timer(self.seconds, runner.logger.info, [text])
        self._timer.daemon = True
        self._timer.start()

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        self._begin(runner, batch_idx, runner.val_dataloader)

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        self._begin(runner, batch_idx, runner.test_dataloader)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self._end()
        runner.message_hub.update_scalar('val/iter', runner.iter)

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self._end()
