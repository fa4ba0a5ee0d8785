"""AUC Loss as a module."""

from __future__ import annotations

from mmdet.registry import MODELS
from torch import Tensor

from rankdet.functional import auc_loss

from .scoped import ScopedRankingLoss


@MODELS.register_module()
class AUCLoss(ScopedRankingLoss):
    """AUC Loss (Chen et al., TPAMI 2020, Eq. 7); see :func:`rankdet.functional.auc_loss`.

    Args:
        delta: half-width >= 0 of the piecewise linear step.
        step: ``'linear'`` or ``'sigmoid'``.
        scale: steepness > 0 of the sigmoid step.
        scope: who is ranked together: ``'image'``, ``'batch'`` or ``'global'``.
        loss_weight: factor on the loss.
    """

    def __init__(
        self,
        *,
        delta: float = 1.0,
        step: str = 'linear',
        scale: float = 1.0,
        scope: str = 'batch',
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(scope=scope, loss_weight=loss_weight)
        self.set_options(auc_loss, delta=delta, step=step, scale=scale)

    def forward(
        self,
        logits: Tensor,
        targets: Tensor,
        *,
        class_indices: bool = False,
        image_ids: Tensor | None = None,
        loc_errors: Tensor | None = None,
    ) -> Tensor:
        """The weighted loss of one batch, see :meth:`.RankingLoss.forward`."""
        loss = auc_loss(
            logits,
            targets,
            class_indices=class_indices,
            image_ids=image_ids,
            scope=self.scope,
            **self.options,
        )
        return self.weigh(loss)
