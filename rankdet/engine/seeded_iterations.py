"""Random numbers of the model that a resumed run repeats exactly."""

from __future__ import annotations

import random

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.hooks.hook import DATA_BATCH
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from mmengine.runner.utils import set_random_seed


@HOOKS.register_module()
class SeededIterations(Hook):
    """Seeds Python, NumPy and torch before each training iteration from (seed, iteration, rank).

    Samplers of two-stage detectors, dropout and the like draw from generators whose state depends
    on all that was drawn before, and MMEngine saves none of it: a run that resumes would draw
    other numbers than one that was never interrupted. Here the draws of an iteration depend on
    nothing but its number, the seed of the run and the process, so that there is no state to save,
    and nothing to lose when a run is killed. Each process draws its own numbers.

    Random augmentation happens elsewhere, in data workers and ahead of time:
    :class:`rankdet.datasets.seeded.SeededDataset` does the same for it.

    :func:`rankdet.engine.launch.train` gives this hook to every run.
    """

    priority = 'VERY_HIGH'  # before any hook that may draw

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: DATA_BATCH = None
    ) -> None:
        # Seeds of 32 bits, which is what NumPy takes; text is hashed alike on every machine.
        bits = random.Random(f'{runner.seed} {runner.iter} {get_rank()}').getrandbits(32)
        set_random_seed(bits)
