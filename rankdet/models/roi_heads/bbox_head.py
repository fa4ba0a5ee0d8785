"""The box head of Faster R-CNN, trained by ranking."""

from __future__ import annotations

import torch
from mmdet.models.losses import FocalLoss
from mmdet.models.roi_heads.bbox_heads import Shared2FCBBoxHead
from mmdet.registry import MODELS
from torch import Tensor, nn

from rankdet.models.ranking_core import Rows, ranking_losses
from rankdet.models.ranking_head import RankingHead


@MODELS.register_module()
class RankShared2FCBBoxHead(RankingHead, Shared2FCBBoxHead):
    """Faster R-CNN's box head whose ``loss_cls`` may be a ranking loss.

    Takes all arguments of :class:`mmdet.models.Shared2FCBBoxHead`. With a stock loss it gives
    exactly what the stock head gives, but for FocalLoss: with that, as with a ranking loss by
    sigmoid, it has one channel per class and scores by a sigmoid; the stock head would add a
    background channel and score by a softmax that such a loss never trained.

    The ranking covers all proposals of the batch: ``train_cfg.rcnn.sampler`` should be
    ``dict(type='PseudoSampler')``, as in the aLRP paper.

    Raises:
        ValueError: if ``loss_cls`` and ``loss_bbox`` do not fit together or this head.
    """

    cls_predictor_cfg: dict  # the host's

    @property
    def adapts(self) -> bool:
        return self.ranks or isinstance(self.loss_cls, FocalLoss)

    def fit_channels(self) -> None:
        self.use_sigmoid_cls, self.cls_out_channels = False, self.num_classes + 1
        if self.custom_cls_channels:
            self.cls_out_channels = self.loss_cls.get_cls_channels(self.num_classes)
        super().fit_channels()
        if self.use_sigmoid_cls:
            predictor = dict(self.cls_predictor_cfg)
            predictor.update(in_features=self.cls_last_dim, out_features=self.num_classes)
            self.fc_cls = MODELS.build(predictor)
            # The host asks the loss how to turn logits into scores.
            self.loss_cls.custom_cls_channels = True
            self.loss_cls.get_activation = sigmoid_scores

    def classifiers(self) -> list[nn.Module]:
        return [self.fc_cls]

    def loss(
        self,
        cls_score: Tensor,
        bbox_pred: Tensor,
        rois: Tensor,
        labels: Tensor,
        label_weights: Tensor,
        bbox_targets: Tensor,
        bbox_weights: Tensor,
        reduction_override: str | None = None,
    ) -> dict:
        """Losses of a batch, as of :meth:`mmdet.models.BBoxHead.loss`.

        Args:
            cls_score: ``(R, C)`` logits of all proposals of all images.
            bbox_pred: ``(R, 4 * C)``, or ``(R, 4)`` with ``reg_class_agnostic``.
            rois: ``(R, 5)``: image, x1, y1, x2, y2.
        """
        if not self.ranks:
            return super().loss(
                cls_score,
                bbox_pred,
                rois,
                labels,
                label_weights,
                bbox_targets,
                bbox_weights,
                reduction_override,
            )

        own_boxes = 1 if self.reg_class_agnostic else self.num_classes
        deltas = bbox_pred.view(len(rois), own_boxes, self.bbox_coder.encode_size)

        def boxes(chosen: Tensor | slice) -> tuple[Tensor, Tensor]:
            predicted = deltas[chosen]
            # Background has no box of its own, and any will do.
            own = labels[chosen].clamp(0, own_boxes - 1)[:, None, None]
            predicted = predicted.gather(1, own.expand(-1, 1, predicted.shape[2])).squeeze(1)
            return self.regressed(rois[chosen, 1:], predicted), bbox_targets[chosen]

        rows = Rows(cls_score, labels, label_weights, rois[:, 0].long(), boxes)
        return ranking_losses(self.loss_cls, self.loss_bbox, rows, self.num_classes)


def sigmoid_scores(cls_score: Tensor) -> Tensor:
    """Scores ``(R, C + 1)`` of logits ``(R, C)``: the host drops the last column, background."""
    scores = cls_score.sigmoid()
    return torch.cat([scores, scores.new_zeros(len(scores), 1)], 1)
