"""Self-balancing of aLRP Loss, epoch by epoch."""

from __future__ import annotations

import logging

from mmengine.hooks import Hook, LoggerHook
from mmengine.hooks.hook import DATA_BATCH
from mmengine.registry import HOOKS
from mmengine.runner import IterBasedTrainLoop, Runner
from torch import Tensor

from rankdet.models.losses import aLRPLoss


def _alrp_losses(runner: Runner) -> dict[str, aLRPLoss]:
    modules = dict(runner.model.named_modules()).items()
    return {
        name.removeprefix('module.'): module
        for name, module in modules
        if isinstance(module, aLRPLoss)
    }


def shortest_names(paths: list[str]) -> list[str]:
    """For each path of a loss the shortest end of its head's path that no other head shares.

    Each ends with a dot, as a prefix; it is empty for a loss that is alone.

    >>> shortest_names(['rpn_head.loss_cls', 'roi_head.bbox_head.loss_cls'])
    ['rpn_head.', 'bbox_head.']
    >>> shortest_names(['one.head.loss_cls', 'two.head.loss_cls'])
    ['one.head.', 'two.head.']
    >>> shortest_names(['head.loss_cls'])
    ['']
    """
    if len(paths) == 1:
        return ['']
    heads = [path.rpartition('.')[0] for path in paths]
    heads = paths if len(set(heads)) < len(heads) else heads
    names = []
    for head in heads:
        parts = head.split('.')
        ends = ['.'.join(parts[-length:]) for length in range(1, len(parts) + 1)]
        shared = [sum(f'.{other}'.endswith(f'.{end}') for other in heads) > 1 for end in ends]
        # A path that is the end of another is its own name in full.
        names.append(next((end for end, is_shared in zip(ends, shared) if not is_shared), head))
    return [f'{name}.' for name in names]


def warn_without_hook(runner: Runner) -> None:
    """Say that aLRP Losses are to balance themselves where no hook does it for them."""
    balanced = [name for name, loss in _alrp_losses(runner).items() if loss.self_balance]
    if balanced and not any(isinstance(hook, SelfBalanceHook) for hook in runner.hooks):
        runner.logger.log(
            logging.WARNING,
            f'{", ".join(balanced)} of self_balance=True without SelfBalanceHook: loc_weight will '
            "stay as it is. Add custom_hooks=[dict(type='SelfBalanceHook')], or say so with "
            'self_balance=False',
        )


def _writes_a_line(logger: LoggerHook, runner: Runner, batch_idx: int) -> bool:
    """Whether LoggerHook is about to: MMEngine has the rule in its ``after_train_iter`` alone."""
    if logger.every_n_inner_iters(batch_idx, logger.interval):
        return True
    loader = runner.train_dataloader
    is_short = len(loader) <= logger.interval
    return logger.end_of_epoch(loader, batch_idx) and (is_short or not logger.ignore_last)


@HOOKS.register_module()
class SelfBalanceHook(Hook):
    """Sets the localisation weight of every aLRP Loss of a model, and logs what it did.

    At the end of each period the weight becomes mean(aLRP) / mean(loc) of that period (Oksuz et
    al. 2020, Sec. 4.2). The weight and the running sums are buffers of the losses: they are
    reduced over all processes before any checkpoint is written, so that a resumed run goes on
    with the very numbers of one that was never interrupted.

    The logged losses of a self-balanced model are multiplied by that weight and may rise while
    the model improves. This hook logs, averaged over the iterations that had a positive since the
    last log, ``aLRP`` (= ``aLRP_cls`` + ``aLRP_loc``, unweighted) and its parts: those fall. Where
    no iteration had one, they are left out.
    A model with several aLRP Losses logs each under the name of its head, as much of its path as
    tells it from the others. A run that does not resume starts with the ``loc_weight`` of the
    config, whatever a checkpoint that it loads weights from (``load_from``) had come to.

    Args:
        interval: length of a period: epochs, or iterations with ``by_epoch=False``.
        by_epoch: count in epochs. A loop that counts in iterations has one epoch only and needs
            False.
        log_interval: iterations between two logs, counted over the whole run; a line of LoggerHook
            in between repeats the last. None: whenever LoggerHook writes a line, and never where
            the run has none. Between logs nothing is copied to the host.

    Raises:
        ValueError: if the model has no aLRP Loss, or the loop has no epochs to count.
    """

    priority = 'NORMAL'  # before LoggerHook and CheckpointHook

    def __init__(
        self, interval: int = 1, by_epoch: bool = True, log_interval: int | None = None
    ) -> None:
        if not isinstance(interval, int) or interval < 1:
            raise ValueError(f'interval must be an integer >= 1, got {interval!r}')
        if log_interval is not None and (not isinstance(log_interval, int) or log_interval < 1):
            raise ValueError(f'log_interval must be None or an integer >= 1, got {log_interval!r}')
        self.interval = interval
        self.by_epoch = by_epoch
        self.log_interval = log_interval

    def before_train(self, runner: Runner) -> None:
        found = _alrp_losses(runner)
        self._losses = dict(zip(shortest_names(list(found)), found.values()))
        if not self._losses:
            raise ValueError(
                'SelfBalanceHook found no aLRPLoss in the model; take the hook out of custom_hooks'
            )
        if self.by_epoch and isinstance(runner.train_loop, IterBasedTrainLoop):
            raise ValueError(
                'SelfBalanceHook counts epochs, but this training counts iterations; set '
                'by_epoch=False and interval to the iterations of one epoch'
            )
        if runner.iter == 0:
            for loss in self._losses.values():
                loss.restart()
        self._logged = {key: loss.sb_history.clone() for key, loss in self._losses.items()}

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: DATA_BATCH = None,
        outputs: dict | None = None,
    ) -> None:
        for loss in self._losses.values():
            loss.merge_sums()
        if not self.by_epoch and self.every_n_train_iters(runner, self.interval):
            self._rebalance(runner)
        if self._is_logged(runner, batch_idx):
            self._log(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        if self.by_epoch and self.every_n_epochs(runner, self.interval):
            self._rebalance(runner)

    def _rebalance(self, runner: Runner) -> None:
        for key, loss in self._losses.items():
            skipped = int(loss.sb_sums[3])
            loss.rebalance()
            if skipped:
                runner.logger.log(
                    logging.WARNING,
                    f'{key}aLRP was not finite in {skipped} iterations of this period, summed over '
                    'all processes; they were left out of self-balancing. A lower learning rate or '
                    'optim_wrapper.clip_grad may help',
                )

    def _is_logged(self, runner: Runner, batch_idx: int) -> bool:
        if self.log_interval is not None:
            return self.every_n_train_iters(runner, self.log_interval)
        loggers = [hook for hook in runner.hooks if isinstance(hook, LoggerHook)]
        return any(_writes_a_line(logger, runner, batch_idx) for logger in loggers)

    def _log(self, runner: Runner) -> None:
        for key, loss in self._losses.items():
            since: Tensor = loss.sb_history - self._logged[key]
            self._logged[key] = loss.sb_history.clone()
            alrp, loc, count, _ = since.tolist()
            hub = runner.message_hub
            hub.update_scalar(f'train/{key}sb_weight', float(loss.sb_weight))
            for name, value in (('', alrp), ('_cls', alrp - loc), ('_loc', loc)):
                if count:
                    hub.update_scalar(f'train/{key}aLRP{name}', value / count)
                else:  # the next line would show those of an older one
                    hub.log_scalars.pop(f'train/{key}aLRP{name}', None)
