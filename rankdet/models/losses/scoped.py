"""Losses that choose who is ranked against whom."""

from __future__ import annotations

import torch
from torch import Tensor

from rankdet.functional._scope import SCOPES, Processes, group_name

from .base import RankingLoss


class ScopedRankingLoss(RankingLoss):
    """Base of the losses that rank an image, a process's batch or all processes' batches.

    Args:
        scope: ``'image'``, ``'batch'`` or ``'global'``.
        loss_weight: factor on the loss.
    """

    def __init__(self, *, scope: str = 'batch', loss_weight: float = 1.0) -> None:
        super().__init__(loss_weight=loss_weight)
        if scope not in SCOPES:
            raise ValueError(f'scope must be one of {SCOPES}, got {scope!r}')
        self.scope = scope

    def extra_repr(self) -> str:
        return f'{super().extra_repr()}, scope={self.scope!r}'

    @property
    def num_processes(self) -> int:
        """How many processes rank together."""
        group = Processes(group_name(self.scope)).group
        return 1 if group is None else group.size()

    def weigh(self, loss: Tensor) -> Tensor:
        """``loss_weight * loss``, its gradient also times the number of processes.

        Each process holds its own share of the gradient of one common loss, and
        DistributedDataParallel averages what should be added up.
        """
        others = self.num_processes - 1
        if others:
            loss = loss + others * (loss - loss.detach())
        return self.loss_weight * loss

    def box_normaliser(self, num_positives: int | Tensor, like: Tensor) -> float | Tensor:
        processes = Processes(group_name(self.scope))
        if processes.group is None:
            return super().box_normaliser(num_positives, like)
        if not isinstance(num_positives, Tensor):
            num_positives = torch.full((), num_positives, device=like.device)
        count = processes.sum(num_positives.float())
        return count.clamp(min=1) / processes.group.size()
