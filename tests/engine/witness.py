"""What a process of a test leaves behind, and how it dies. Not a test itself."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

KILL_AT = 'RANKDET_TEST_KILL_AT'


@HOOKS.register_module()
class Witness(Hook):
    """Leaves what each process holds at the end of a run, and which images it saw."""

    def before_train(self, runner) -> None:
        self.seen: list[int] = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.seen += [sample.img_id for sample in data_batch['data_samples']]

    def after_train(self, runner) -> None:
        model = getattr(runner.model, 'module', runner.model)
        path = Path(runner.work_dir) / f'process_{get_rank()}.witness'
        torch.save(dict(state=model.state_dict(), seen=self.seen), path)


@HOOKS.register_module()
class Killer(Hook):
    """Kills its own process, as kill -9 would, after as many iterations as the environment says."""

    priority = 'LOWEST'

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if runner.iter + 1 == int(os.environ.get(KILL_AT, 0)):
            os.kill(os.getpid(), signal.SIGKILL)
