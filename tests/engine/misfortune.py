"""What may befall a run, at an iteration that the environment names. Not a test itself."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import signal
from pathlib import Path

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

EVENT = 'RANKDET_TEST_EVENT'  # "kind iteration"


def running(run: Path) -> list[int]:
    """Processes of a run that are still there."""
    written = [json.loads(path.read_text()) for path in run.glob('*.processes')]
    assert written
    return [process for processes in written for process in processes if _runs(process)]


def _runs(process: int) -> bool:
    try:
        return Path(f'/proc/{process}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    except FileNotFoundError:
        return False


@HOOKS.register_module()
class Misfortune(Hook):
    """Lets it happen after so many iterations, and leaves the numbers of the processes."""

    priority = 'HIGHEST'  # before the checkpoint of the same iteration

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        kind, iteration = os.environ.get(EVENT, 'none 0').split()
        if runner.iter + 1 != int(iteration):
            return
        children = [child.pid for child in multiprocessing.active_children()]
        path = Path(runner.work_dir, f'{get_rank()}.processes')
        path.write_text(json.dumps([os.getpid(), *children]))
        getattr(self, kind)(children)

    def full_disk(self, children: list[int]) -> None:
        # Of the first checkpoint, of a few hundred kilobytes, there is room for a part.
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, resource.RLIM_INFINITY))

    def lost_worker(self, children: list[int]) -> None:
        os.kill(children[0], signal.SIGKILL)

    def control_c(self, children: list[int]) -> None:
        os.killpg(0, signal.SIGINT)  # a terminal sends it to all of them

    def scheduler(self, children: list[int]) -> None:
        if 'RANK' not in os.environ:
            os.killpg(0, signal.SIGTERM)
        elif get_rank() == 1:
            os.kill(os.getppid(), signal.SIGTERM)  # the launcher

    def lost_process(self, children: list[int]) -> None:
        if get_rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)
