"""A config of the papers made short: the real model and pipelines on a few tiny images."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.hooks import Hook
from mmengine.hooks.hook import DATA_BATCH
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from rankdet.datasets.digits import make_digits
from rankdet.datasets.tiny import make_tiny_coco, make_tiny_voc
from rankdet.engine.preflight import leaf_datasets

#: The longest side of a smoke run's images. The others shrink by the same factor.
SMOKE_SIDE = 256
IMAGES = 4
_BATCH = _TESTED = 2  # images, of those
_numbers = itertools.count()


def make_tiny_data(folder: Path, images: int = IMAGES) -> dict[str, str]:
    """Tiny VOC, COCO and digits, and the environment variables that lead the configs to them."""
    make_tiny_voc(folder / 'VOCdevkit', images=images)
    make_tiny_coco(folder / 'coco', images=images)
    make_digits(folder / 'digits', num_train=images, num_val=images)
    return dict(
        VOC_ROOT=str(folder / 'VOCdevkit'),
        COCO_ROOT=str(folder / 'coco'),
        COCO_NAMES='2017',
        DIGITS=str(folder / 'digits'),
    )


def shorten(cfg: Config, *, iterations: int = 2) -> None:
    """Leave a training that reads the weights of no file and ends after a few iterations.

    An epoch becomes at least that many iterations of at most two images; the checkpoint and the
    validation come at the end. Every trainable parameter is watched, see :class:`GradientWatch`.

    Args:
        cfg: Is changed in place.
        iterations: How many.
    """
    forget_files(cfg)
    loader = cfg.train_dataloader
    loader.batch_size = min(_BATCH, loader.batch_size)
    datasets = list(leaf_datasets(loader.dataset))
    for dataset in datasets:
        dataset.indices = min(IMAGES, math.ceil(iterations * loader.batch_size / len(datasets)))
    for mode in ('val', 'test'):
        for dataset in leaf_datasets(cfg[f'{mode}_dataloader'].dataset):
            dataset.indices = _TESTED
    for mode in ('train', 'val', 'test'):
        cfg[f'{mode}_dataloader'].num_workers = 0
        cfg[f'{mode}_dataloader'].persistent_workers = False
    by_epoch = 'max_epochs' in cfg.train_cfg
    cfg.train_cfg.update(max_epochs=1) if by_epoch else cfg.train_cfg.update(max_iters=iterations)
    cfg.train_cfg.val_interval = 1 if by_epoch else iterations
    kept = dict(interval=cfg.train_cfg.val_interval, max_keep_ckpts=1, save_optimizer=False)
    cfg.default_hooks.checkpoint.update(kept)
    cfg.default_hooks.logger.interval = 1
    cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), dict(type='GradientWatch')]
    rename(cfg)


def forget_files(cfg: Config) -> None:
    """Start from random weights, so that nothing is downloaded."""
    for part in _dicts(cfg.model):
        if _is_pretrained(part.get('init_cfg')):
            part.init_cfg = None
        if 'pretrained' in part:
            part.pretrained = None


def rename(cfg: Config) -> None:
    """Give a run a name of its own: MMEngine keeps loggers by names that differ by second only."""
    cfg.experiment_name = f'tiny-{next(_numbers)}'
    cfg.visualizer.name = cfg.experiment_name


def keep_every_score(cfg: Config) -> None:
    """No score threshold: an untrained detector must find something to be measured by."""
    for part in _dicts(cfg.model):
        if 'score_thr' in part:
            part.score_thr = 0.0


def shrink(cfg: Config, side: int = SMOKE_SIDE) -> float:
    """Shrink all sizes of the pipelines by one factor, so that no side is above ``side``.

    A detector made for images of one size, as SSD, keeps a little more than half of that, or
    nothing would be left for its last layers.

    Returns:
        float: The factor.
    """
    own_sizes = [part.input_size for part in _dicts(cfg.model) if 'input_size' in part]
    side = max([side, *(size * 9 // 16 for size in own_sizes)])
    loaders = [cfg[f'{mode}_dataloader'].dataset for mode in ('train', 'val', 'test')]
    pipelines = [dataset.pipeline for loader in loaders for dataset in leaf_datasets(loader)]
    steps = [step for p in [*pipelines, cfg.get('tta_pipeline')] for step in _dicts(p)]
    # Loaders may share their steps.
    steps = list({id(step): step for step in steps if 'scale' in step or 'scales' in step}.values())
    sizes = [size for step in steps for size in step.get('scales', [step.get('scale')])]
    factor = min(1.0, side / max(itertools.chain(*sizes)))
    for step in steps:
        for key in ('scale', 'scales'):
            if key in step:
                step[key] = _scaled(step[key], factor)
    return factor


@HOOKS.register_module()
class GradientWatch(Hook):
    """Notes the losses of a training and which parameters got a gradient.

    Attributes:
        losses: The values of the last iteration, by name.
        iterations: How many there were.
        unmoved: Trainable parameters that never got a gradient.
        broken: Parameters whose gradient was infinite or NaN.
    """

    def __init__(self) -> None:
        self.losses: dict[str, float] = {}
        self.iterations = 0
        self.unmoved: set[str] = set()
        self.broken: set[str] = set()
        self._handles: list = []

    def before_train(self, runner: Runner) -> None:
        for name, parameter in runner.model.named_parameters():
            if parameter.requires_grad:
                self.unmoved.add(name)
                hook = parameter.register_post_accumulate_grad_hook(self._note(name))
                self._handles.append(hook)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: DATA_BATCH = None,
        outputs: dict | None = None,
    ) -> None:
        self.iterations += 1
        values = {k: float(v.detach()) for k, v in (outputs or {}).items() if torch.is_tensor(v)}
        self.losses = {name: value for name, value in values.items() if 'loss' in name}

    def after_train(self, runner: Runner) -> None:
        for handle in self._handles:
            handle.remove()

    def _note(self, name: str) -> Callable[[torch.Tensor], None]:
        def note(parameter: torch.Tensor) -> None:
            self.unmoved.discard(name)
            assert parameter.grad is not None  # it was just accumulated
            if not torch.isfinite(parameter.grad).all():
                self.broken.add(name)

        return note


def _dicts(node: Any) -> Iterator[ConfigDict]:
    """A nested config's dicts, outer ones first."""
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for child in node:
            yield from _dicts(child)


def _is_pretrained(init_cfg: Any) -> bool:
    entries = init_cfg if isinstance(init_cfg, (list, tuple)) else [init_cfg]
    return any(entry and entry.get('type') == 'Pretrained' for entry in entries)


def _scaled(size: Any, factor: float) -> Any:
    if isinstance(size, (list, tuple)):
        return type(size)(_scaled(part, factor) for part in size)
    return max(1, round(size * factor))
