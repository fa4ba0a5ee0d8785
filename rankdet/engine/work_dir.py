"""A run that a mistake ends before its first iteration leaves no folder behind."""

from __future__ import annotations

import os.path as osp
import shutil
from types import TracebackType
from typing import Any

from mmengine.hooks import Hook

from .errors import explain


class NewWorkDir(Hook):
    """Takes a work directory away again, if it was not there before, when a run is refused.

    MMEngine makes the folder before it builds the model, so most mistakes in a config show up
    too late to leave nothing. What a bug ends, and what has begun to train, stays.

    Args:
        path: the work directory, before the runner is built.

    Example:
        >>> with NewWorkDir(cfg.work_dir) as folder:  # doctest: +SKIP
        ...     runner = Runner.from_cfg(cfg)
        ...     runner.register_hook(folder)
        ...     runner.train()
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.may_go = not osp.exists(path)

    def _after_iter(self, *args: Any, **kwargs: Any) -> None:  # of training, validation or test
        self.may_go = False

    def __enter__(self) -> NewWorkDir:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.may_go and isinstance(error, Exception) and explain(error):
            shutil.rmtree(self.path, ignore_errors=True)
