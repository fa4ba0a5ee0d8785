"""RetinaNet's head, trained by ranking."""

from __future__ import annotations

from mmdet.models.dense_heads import RetinaHead
from mmdet.registry import MODELS
from torch import nn

from .anchor_mixin import RankingAnchorMixin


@MODELS.register_module()
class RankRetinaHead(RankingAnchorMixin, RetinaHead):
    """RetinaNet's head whose ``loss_cls`` may be a ranking loss.

    Takes all arguments of :class:`mmdet.models.RetinaHead`. With a stock loss it gives exactly
    what the stock head gives. ``train_cfg.assigner`` may be ``ATSSAssigner`` too.

    Raises:
        ValueError: if ``loss_cls`` and ``loss_bbox`` do not fit together or this head.
    """

    retina_cls: nn.Module  # the host's

    def classifiers(self) -> list[nn.Module]:
        return [self.retina_cls]
