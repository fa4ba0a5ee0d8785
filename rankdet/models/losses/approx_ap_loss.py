"""Smoothed AP as a module."""

from __future__ import annotations

from mmdet.registry import MODELS
from torch import Tensor

from rankdet.functional import approx_ap_loss

from .base import RankingLoss


@MODELS.register_module()
class ApproxAPLoss(RankingLoss):
    """AP smoothed by a sigmoid, a comparison; see :func:`rankdet.functional.approx_ap_loss`.

    Args:
        scale: steepness > 0 of the sigmoid.
        log_space: minimise -log(AP + eps) rather than 1 - AP.
        eps: > 0, of the log objective.
        loss_weight: factor on the loss.
    """

    def __init__(
        self,
        *,
        scale: float = 1.0,
        log_space: bool = True,
        eps: float = 1e-6,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(loss_weight=loss_weight)
        self.set_options(approx_ap_loss, scale=scale, log_space=log_space, eps=eps)

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
        return self.loss_weight * approx_ap_loss(
            logits, targets, class_indices=class_indices, image_ids=image_ids, **self.options
        )
