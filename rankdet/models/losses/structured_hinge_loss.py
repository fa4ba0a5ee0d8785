"""Structured hinge AP loss as a module."""

from __future__ import annotations

from mmdet.registry import MODELS
from torch import Tensor

from rankdet.functional import structured_hinge_ap_loss

from .base import RankingLoss


@MODELS.register_module()
class StructuredHingeAPLoss(RankingLoss):
    """A convex bound of 1 - AP; see :func:`rankdet.functional.structured_hinge_ap_loss`.

    Args:
        loss_weight: factor on the loss.
    """

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
        return self.loss_weight * structured_hinge_ap_loss(
            logits, targets, class_indices=class_indices, image_ids=image_ids
        )
