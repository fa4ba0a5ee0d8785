"""The region proposal network, trained by ranking."""

from __future__ import annotations

from typing import Any

from mmdet.models.dense_heads import RPNHead
from mmdet.registry import MODELS
from torch import nn

from .anchor_mixin import RankingAnchorMixin


@MODELS.register_module()
class RankRPNHead(RankingAnchorMixin, RPNHead):
    """The RPN whose ``loss_cls`` may be a ranking loss.

    Takes all arguments of :class:`mmdet.models.RPNHead`. The aLRP paper trains it without
    sampling, ``tau=0.7`` (its positives start at IoU 0.7) and ``loss_weight=0.2``.

    Raises:
        ValueError: if ``loss_cls`` and ``loss_bbox`` do not fit together or this head.
    """

    rpn_cls: nn.Module  # the host's

    def classifiers(self) -> list[nn.Module]:
        return [self.rpn_cls]

    def loss_by_feat(self, *args: Any, **kwargs: Any) -> dict:
        losses = super().loss_by_feat(*args, **kwargs)
        if self.ranks:  # two-stage detectors tell the stages' losses apart by these names
            losses = {f'loss_rpn_{key.removeprefix("loss_")}': v for key, v in losses.items()}
        return losses
