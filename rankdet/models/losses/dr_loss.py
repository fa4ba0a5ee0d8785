"""DR Loss as a module."""

from __future__ import annotations

from math import log

from mmdet.registry import MODELS
from torch import Tensor

from rankdet.functional import dr_loss

from .base import RankingLoss


@MODELS.register_module()
class DRLoss(RankingLoss):
    """DR Loss (Qian et al., CVPR 2020); see :func:`rankdet.functional.dr_loss`.

    Args:
        pos_lambda, neg_lambda: regularisers > 0 of the two distributions; 1 / log(h+) and
            0.1 / log(h-) for the paper's h+ and h-.
        smoothness: L > 0 of the logistic surrogate.
        margin: gamma >= 0.
        tau: weight >= 0 beside the box loss, on top of ``loss_weight``.
        surrogate: ``'logistic'``, ``'quadratic'`` or ``'hinge'``.
        rho: half-width > 0 of the quadratic surrogate.
        pairing: ``'dr'``, ``'neg_only'`` or ``'all'``.
        neg_ratio: None, or hard negatives mined for each positive.
        loss_weight: factor on the loss.
    """

    prior_prob = 0.5

    def __init__(
        self,
        *,
        pos_lambda: float = 1.0,
        neg_lambda: float = 0.1 / log(3.5),
        smoothness: float = 6.0,
        margin: float = 0.5,
        tau: float = 4.0,
        surrogate: str = 'logistic',
        rho: float = 0.5,
        pairing: str = 'dr',
        neg_ratio: float | None = None,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(loss_weight=loss_weight)
        self.set_options(
            dr_loss,
            pos_lambda=pos_lambda,
            neg_lambda=neg_lambda,
            smoothness=smoothness,
            margin=margin,
            tau=tau,
            surrogate=surrogate,
            rho=rho,
            pairing=pairing,
            neg_ratio=neg_ratio,
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
        """The weighted loss of one batch, see :meth:`.RankingLoss.forward`.

        Without ``image_ids`` the batch counts as one image.
        """
        return self.loss_weight * dr_loss(
            logits, targets, class_indices=class_indices, image_ids=image_ids, **self.options
        )
