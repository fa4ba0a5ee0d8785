"""Cross-entropy with online hard example mining as a module."""

from __future__ import annotations

from mmdet.registry import MODELS
from torch import Tensor

from rankdet.functional import ohem_cross_entropy_loss

from .base import RankingLoss


@MODELS.register_module()
class OHEMCrossEntropyLoss(RankingLoss):
    """Cross-entropy of the positives and of the hardest negatives of each image.

    See :func:`rankdet.functional.ohem_cross_entropy_loss`.

    Args:
        use_sigmoid: False: softmax over C + 1 channels, ``class_indices=True`` in every call.
            True: each of C channels an example of its own.
        neg_ratio: negatives >= 0 kept for each positive.
        min_negatives: fewest negatives kept in an image.
        loss_weight: factor on the loss.
    """

    def __init__(
        self,
        *,
        use_sigmoid: bool = False,
        neg_ratio: float = 3.0,
        min_negatives: int = 0,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(loss_weight=loss_weight)
        self.use_sigmoid = use_sigmoid
        self.set_options(
            ohem_cross_entropy_loss,
            use_sigmoid=use_sigmoid,
            neg_ratio=neg_ratio,
            min_negatives=min_negatives,
        )

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
        return self.loss_weight * ohem_cross_entropy_loss(
            logits, targets, class_indices=class_indices, image_ids=image_ids, **self.options
        )
