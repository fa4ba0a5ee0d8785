"""SSD's head, trained by any loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmdet.models.dense_heads import SSDHead
from mmdet.registry import MODELS
from mmdet.utils import OptConfigType
from torch import nn

from .anchor_mixin import RankingAnchorMixin


@MODELS.register_module()
class RankSSDHead(RankingAnchorMixin, SSDHead):
    """SSD's head with losses of your choice; the stock head has its own built in.

    Takes all arguments of :class:`mmdet.models.SSDHead` and

    Args:
        loss_cls: config of a ranking loss or of a stock loss such as FocalLoss. None keeps the
            stock head's cross-entropy with hard negative mining, exactly.
        loss_bbox: config of a box loss; needed with ``loss_cls``.

    The stock head cannot predict (it looks for a ``loss_cls`` that it does not have); this one
    can, whatever the losses.

    Raises:
        ValueError: if only one of the losses is given, or if they do not fit.
    """

    cls_convs: Sequence[nn.Sequential]  # the host's

    def __init__(
        self,
        *args: Any,
        loss_cls: OptConfigType = None,
        loss_bbox: OptConfigType = None,
        **kwargs: Any,
    ) -> None:
        if (loss_cls is None) != (loss_bbox is None):
            missing = 'loss_bbox' if loss_bbox is None else 'loss_cls'
            raise ValueError(f'RankSSDHead needs both loss_cls and loss_bbox; {missing} is missing')
        self._loss_configs = loss_cls, loss_bbox
        super().__init__(*args, **kwargs)

    @property
    def adapts(self) -> bool:
        return self.loss_cls is not None

    def _init_layers(self) -> None:
        self.loss_cls, self.loss_bbox = (
            config and MODELS.build(config) for config in self._loss_configs
        )
        super()._init_layers()

    def classifiers(self) -> list[nn.Module]:
        return [convs[-1] for convs in self.cls_convs]
