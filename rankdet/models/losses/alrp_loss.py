"""aLRP Loss as a module, with the state of its self-balancing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from mmdet.registry import MODELS
from torch import Tensor

from rankdet.functional import alrp_loss
from rankdet.functional._scope import Processes, group_name

from .scoped import ScopedRankingLoss


@MODELS.register_module()
class aLRPLoss(ScopedRankingLoss):
    """aLRP Loss (Oksuz et al., NeurIPS 2020); see :func:`rankdet.functional.alrp_loss`.

    Self-balancing (Sec. 4.2) multiplies the localisation part by mean(aLRP) / mean(loc) of the
    previous epoch. The paper takes the average of aLRP / loc over that epoch, which may also be
    read as the mean of each iteration's ratio; here it is the ratio of the two means. The module
    keeps the weight and the sums of both in training mode; a hook calls :meth:`merge_sums` after
    each iteration and :meth:`rebalance` after each period.

    Args:
        delta: half-width >= 0 of the piecewise linear step.
        step: ``'linear'`` or ``'sigmoid'``.
        scale: steepness > 0 of the sigmoid step.
        tau: IoU in [0, 1) from which an anchor is positive; a head divides its errors by 1 - tau.
        self_balance: let ``loc_weight`` follow the losses.
        loc_weight: factor > 0 on the localisation part: in the first period with
            ``self_balance``, else always. 1 without ``self_balance``: no balancing.
        scope: who is ranked together: ``'image'``, ``'batch'`` or ``'global'``.
        loss_weight: factor on both parts.

    Attributes:
        sb_weight: the current factor, saved and equal on all processes.
        sb_sums: aLRP, loc, iterations counted, iterations skipped for a value that is not finite;
            sums over all processes since the last :meth:`rebalance`, saved and equal on all of
            them. An iteration counts once for each process.
        sb_pending: the same of this process since the last :meth:`merge_sums`, not saved.
        sb_history: what :meth:`merge_sums` added up since this process started, for logs; not
            saved.
    """

    needs_loc_errors = True

    sb_weight: Tensor
    sb_sums: Tensor
    sb_pending: Tensor
    sb_history: Tensor

    def __init__(
        self,
        *,
        delta: float = 1.0,
        step: str = 'linear',
        scale: float = 1.0,
        tau: float = 0.5,
        self_balance: bool = True,
        loc_weight: float = 50.0,
        scope: str = 'batch',
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(scope=scope, loss_weight=loss_weight)
        if not 0 <= tau < 1:
            raise ValueError(f'tau must lie in [0, 1), got {tau!r}')
        if not 0 < loc_weight < math.inf:
            raise ValueError(f'loc_weight must be a finite number > 0, got {loc_weight!r}')
        self.tau = tau
        self.self_balance = self_balance
        self.loc_weight = loc_weight
        self.set_options(alrp_loss, delta=delta, step=step, scale=scale)
        sums = torch.zeros(4, dtype=torch.float64)
        # A constant weight belongs to the config, not to a checkpoint.
        self.register_buffer('sb_weight', sums.new_tensor(loc_weight), persistent=self_balance)
        self.register_buffer('sb_sums', sums, persistent=self_balance)
        self.register_buffer('sb_pending', sums.clone(), persistent=False)
        self.register_buffer('sb_history', sums.clone(), persistent=False)

    def forward(
        self,
        logits: Tensor,
        targets: Tensor,
        *,
        class_indices: bool = False,
        image_ids: Tensor | None = None,
        loc_errors: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The weighted pair ``(cls, loc)`` of one batch, see :meth:`.RankingLoss.forward`."""
        assert loc_errors is not None  # see RankingLoss.__call__
        loss = alrp_loss(
            logits,
            targets,
            loc_errors,
            class_indices=class_indices,
            image_ids=image_ids,
            scope=self.scope,
            **self.options,
        )
        # The weight of this iteration, before rebalance() overwrites the buffer.
        balanced = self.weigh(loss.loc) * self.sb_weight.to(loss.loc.dtype, copy=True)
        if self.training:
            self._record(loss.cls.detach(), loss.loc.detach())
        return loss._replace(cls=self.weigh(loss.cls), loc=balanced)

    def merge_sums(self) -> None:
        """Add what each process saw since the last call to the sums of all.

        To be called by all processes alike, before a checkpoint is written: then a training that
        resumes within a period ends it with the same weight. No host synchronisation.
        """
        merged = Processes(group_name('global')).sum(self.sb_pending)
        self.sb_sums += merged
        self.sb_history += merged
        self.sb_pending.zero_()

    def rebalance(self) -> None:
        """Begin a period: set the weight to aLRP / loc of the last one, if it had a positive."""
        self.merge_sums()
        alrp, loc = self.sb_sums[0], self.sb_sums[1]
        if self.self_balance:
            self.sb_weight.copy_(torch.where(loc > 0, alrp / loc, self.sb_weight))
        self.sb_sums.zero_()

    def restart(self) -> None:
        """Forget what other training came to: the weight is ``loc_weight``, the sums are empty."""
        self.sb_weight.fill_(self.loc_weight)
        self.sb_sums.zero_()
        self.sb_pending.zero_()

    def extra_repr(self) -> str:
        balance = f'self_balance={self.self_balance}, loc_weight={self.loc_weight}'
        return f'{super().extra_repr()}, tau={self.tau}, {balance}'

    def _record(self, cls: Tensor, loc: Tensor) -> None:
        values = torch.stack([cls + loc, loc]).double()
        is_finite = values.isfinite().all()
        # Both are exactly 0 without positives.
        is_counted = is_finite & (values[0] > 0)
        flags = torch.stack([is_counted, ~is_finite]).double()
        self.sb_pending += torch.cat([torch.where(is_finite, values, 0), flags])

    def _apply(self, fn: Callable, *args: Any, **kwargs: Any) -> aLRPLoss:
        # half() and its kin convert all buffers; a long sum has no place in 16 bits.
        super()._apply(fn, *args, **kwargs)
        for name in ('sb_weight', 'sb_sums', 'sb_pending', 'sb_history'):
            setattr(self, name, getattr(self, name).double())
        return self
