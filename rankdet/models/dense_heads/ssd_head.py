"""SSD's head, trained by any loss."""

from __future__ import annotations

from mmdet.models.dense_heads import SSDHead
from mmdet.registry import MODELS
from mmengine.model import bias_init_with_prob
from torch import nn

from rankdet.models.losses import RankingLoss
from rankdet.models.ranking_core import stock_losses

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

    def __init__(self, *args, loss_cls=None, loss_bbox=None, **kwargs) -> None:
        if (loss_cls is None) != (loss_bbox is None):
            missing = 'loss_bbox' if loss_bbox is None else 'loss_cls'
            raise ValueError(f'RankSSDHead needs both loss_cls and loss_bbox; {missing} is missing')
        self._loss_configs = loss_cls, loss_bbox
        super().__init__(*args, **kwargs)
        # The stock head sets these after it has built its layers.
        self.use_sigmoid_cls = self.cls_out_channels == self.num_classes

    @property
    def stock(self) -> bool:
        """Whether the losses are those built into the stock head."""
        return self._loss_configs[0] is None

    def _init_layers(self) -> None:
        loss_cls, loss_bbox = self._loss_configs
        self.loss_cls = None if self.stock else MODELS.build(loss_cls)
        self.loss_bbox = None if self.stock else MODELS.build(loss_bbox)
        if not self.stock and not isinstance(self.loss_cls, RankingLoss):
            self.use_sigmoid_cls = getattr(self.loss_cls, 'use_sigmoid', False)
            self.cls_out_channels = self.num_classes + (not self.use_sigmoid_cls)
        super()._init_layers()

    def classifiers(self) -> list[nn.Conv2d]:
        return [convs[-1] for convs in self.cls_convs]

    def init_weights(self) -> None:
        super().init_weights()
        if not self.stock and not self.ranks and self.use_sigmoid_cls:
            for conv in self.classifiers():
                nn.init.constant_(conv.bias, bias_init_with_prob(RankingLoss.prior_prob))

    def loss_by_feat(
        self,
        cls_scores,
        bbox_preds,
        batch_gt_instances,
        batch_img_metas,
        batch_gt_instances_ignore=None,
    ) -> dict:
        inputs = (
            cls_scores,
            bbox_preds,
            batch_gt_instances,
            batch_img_metas,
            batch_gt_instances_ignore,
        )
        if self.stock or self.ranks:
            return super().loss_by_feat(*inputs)
        return stock_losses(self.loss_cls, self.loss_bbox, self._rows(*inputs), self.num_classes)
