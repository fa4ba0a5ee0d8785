"""The batch of a run, and what has to follow it: learning rate and a count of iterations."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.config import Config

from rankdet.engine.errors import UserError

from .plan import Training, as_arguments


def processes(cfg: Config, gpus: int | None) -> int:
    """Processes on this node: those asked for, or the GPUs here that the config can use.

    Raises:
        UserError: There are fewer GPUs.
    """
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if gpus is None:
        return max(1, min(there, written_for(cfg)))
    if gpus < 1 or (there and gpus > there):
        raise UserError(f'--gpus must be from 1 to the {there or "number of"} GPUs, got {gpus}')
    return gpus


def written_for(cfg: Config) -> int:
    """The processes that a config is written for."""
    batch = cfg.train_dataloader.batch_size
    base = (cfg.get('auto_scale_lr') or {}).get('base_batch_size') or batch
    return max(1, base // batch)


def needs_scaling(cfg: Config, world: int) -> bool:
    """Whether the batch of all processes is not the one that the learning rate is meant for.

    Raises:
        UserError: It is not known.
    """
    return world * cfg.train_dataloader.batch_size != _base(cfg)


def check_learning_rate(training: Training, cfg: Config) -> None:
    """A learning rate of the row's own belongs to a batch that the config does not know.

    Raises:
        UserError: The batch is not known.
    """
    keys = {option.partition('=')[0] for option in training.options}
    if 'optim_wrapper.optimizer.lr' in keys and 'auto_scale_lr.base_batch_size' not in keys:
        raise UserError(
            f'Options of {training.rows[0].address} set optim_wrapper.optimizer.lr; they must say '
            'in auto_scale_lr.base_batch_size which batch it is for'
        )
    _base(cfg)


def as_many_images(cfg: Config, world: int) -> list[str]:
    """Overrides by which a training that counts iterations sees as many images as it is meant to.

    Its end, the steps of its learning rate, and the iterations between checkpoints and validations
    become longer as the batch becomes smaller. A linear warm-up stays: it is no share of the
    training. Where the batch is that of the config, or epochs are counted, there is nothing to do.

    Args:
        cfg: The config.
        world: Processes of all nodes.

    Raises:
        UserError: There is a schedule that this does not know.
    """
    if 'max_epochs' in cfg.train_cfg or not needs_scaling(cfg, world):
        return []
    factor = _base(cfg) / (world * cfg.train_dataloader.batch_size)

    def scaled(iterations: int) -> int:
        return max(1, round(iterations * factor))

    changes: dict[str, Any] = {
        f'train_cfg.{key}': scaled(cfg.train_cfg[key])
        for key in ('max_iters', 'val_interval', 'val_begin')
        if key in cfg.train_cfg
    }
    for number, scheduler in enumerate(cfg.get('param_scheduler') or []):
        if scheduler.get('by_epoch', True) or scheduler.type != 'MultiStepLR':
            if scheduler.type != 'LinearLR':
                raise UserError(
                    f'{cfg.filename} counts iterations of a batch of {_base(cfg)}; its '
                    f'{scheduler.type} does not follow another one: set --gpus {written_for(cfg)}'
                )
            continue
        steps = [scaled(step) for step in scheduler.milestones]
        changes[f'param_scheduler.{number}.milestones'] = steps
    checkpoint = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    if not checkpoint.get('by_epoch', True):
        changes['default_hooks.checkpoint.interval'] = scaled(checkpoint['interval'])
    return as_arguments(changes, str(cfg.filename))


def _base(cfg: Config) -> int:
    base = (cfg.get('auto_scale_lr') or {}).get('base_batch_size')
    if not base:
        raise UserError(f'{cfg.filename} does not say auto_scale_lr = dict(base_batch_size=...)')
    return base
