"""Anchor-based heads of MMDetection that may rank: RetinaNet's, SSD's and the RPN."""

from __future__ import annotations

import inspect

import torch
from mmdet.models.dense_heads.anchor_head import anchor_inside_flags
from mmdet.structures.bbox import get_box_tensor
from mmengine.model import bias_init_with_prob
from torch import Tensor, nn

from rankdet.models.losses import RankingLoss
from rankdet.models.ranking_core import Rows, check_losses, ranking_losses


class _ByLevel:
    """Lets an assigner that asks for ``num_level_priors`` (ATSS) serve a head that does not say."""

    def __init__(self, assigner) -> None:
        self.assigner = assigner
        self.num_level_priors: list[int] = []

    def assign(self, pred_instances, gt_instances, gt_instances_ignore=None):
        return self.assigner.assign(
            pred_instances, self.num_level_priors, gt_instances, gt_instances_ignore
        )


class RankingAnchorMixin:
    """First base of an anchor head: with a ranking loss in ``loss_cls`` the head hands it all
    levels and images in one call; with any other loss it is the stock head, unchanged.

    It also builds the channels that the loss asks for, starts the classifier's bias at the
    probability that belongs to the loss, and accepts assigners that work level by level (ATSS).
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if self.loss_cls is not None:
            check_losses(self, self.loss_cls, self.loss_bbox)
        assigner = getattr(self, 'assigner', None)
        if assigner and 'num_level_priors' in inspect.signature(assigner.assign).parameters:
            self.assigner = _ByLevel(assigner)

    @property
    def ranks(self) -> bool:
        """Whether ``loss_cls`` must see the whole batch at once."""
        return isinstance(self.loss_cls, RankingLoss)

    def _init_layers(self) -> None:
        if self.ranks:
            self.use_sigmoid_cls = self.loss_cls.use_sigmoid
            self.cls_out_channels = self.num_classes + (not self.use_sigmoid_cls)
        super()._init_layers()

    def classifiers(self) -> list[nn.Conv2d]:
        """The convolutions whose output are the logits."""
        raise NotImplementedError

    def init_weights(self) -> None:
        super().init_weights()
        if self.ranks and self.use_sigmoid_cls:
            bias = bias_init_with_prob(self.loss_cls.prior_prob)
            for conv in self.classifiers():
                nn.init.constant_(conv.bias, bias)

    def _get_targets_single(self, flat_anchors, valid_flags, gt_instances, img_meta, *args, **kw):
        if isinstance(self.assigner, _ByLevel):
            inside = anchor_inside_flags(
                flat_anchors,
                valid_flags,
                img_meta['img_shape'][:2],
                self.train_cfg['allowed_border'],
            )
            levels = inside.split(self._level_sizes)
            self.assigner.num_level_priors = [int(level.sum()) for level in levels]
        return super()._get_targets_single(
            flat_anchors, valid_flags, gt_instances, img_meta, *args, **kw
        )

    def get_targets(self, anchor_list, *args, **kwargs):
        self._level_sizes = [len(anchors) for anchors in anchor_list[0]]
        return super().get_targets(anchor_list, *args, **kwargs)

    def loss_by_feat(
        self,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        batch_gt_instances,
        batch_img_metas: list[dict],
        batch_gt_instances_ignore=None,
    ) -> dict:
        """Losses of a batch, as of :meth:`mmdet.models.AnchorHead.loss_by_feat`.

        Args:
            cls_scores: one tensor ``(N, anchors * C, H, W)`` per level.
            bbox_preds: one tensor ``(N, anchors * 4, H, W)`` per level.
        """
        if not self.ranks:
            return super().loss_by_feat(
                cls_scores,
                bbox_preds,
                batch_gt_instances,
                batch_img_metas,
                batch_gt_instances_ignore,
            )
        rows = self._rows(
            cls_scores, bbox_preds, batch_gt_instances, batch_img_metas, batch_gt_instances_ignore
        )
        return ranking_losses(self.loss_cls, self.loss_bbox, rows, self.num_classes)

    def _rows(self, cls_scores, bbox_preds, gt_instances, img_metas, gt_ignore) -> Rows:
        """Assign targets, then lay everything out as (image, anchor over all levels)."""
        sizes = [score.shape[-2:] for score in cls_scores]
        device, num_images = cls_scores[0].device, len(img_metas)
        anchors, valid_flags = self.get_anchors(sizes, img_metas, device=device)
        flat_anchors = [get_box_tensor(torch.cat(levels)) for levels in anchors]
        labels, weights, box_targets, _, _ = self.get_targets(
            anchors, valid_flags, gt_instances, img_metas, batch_gt_instances_ignore=gt_ignore
        )[:5]

        def flatten(maps: list[Tensor], channels: int) -> Tensor:
            rows = [m.permute(0, 2, 3, 1).reshape(num_images, -1, channels) for m in maps]
            return torch.cat(rows, 1)

        deltas = flatten(bbox_preds, self.bbox_coder.encode_size).flatten(0, 1)
        box_targets = torch.cat(box_targets, 1).flatten(0, 1)
        anchors = torch.cat(flat_anchors)

        def boxes(chosen: Tensor | slice) -> tuple[Tensor, Tensor]:
            predicted = deltas[chosen].float()
            if self.reg_decoded_bbox:
                predicted = self.bbox_coder.decode(anchors[chosen], predicted)
                predicted = get_box_tensor(predicted)
            return predicted, box_targets[chosen]

        return Rows(
            logits=flatten(cls_scores, self.cls_out_channels),
            labels=torch.cat(labels, 1),
            weights=torch.cat(weights, 1),
            image_ids=torch.arange(num_images, device=device),
            boxes=boxes,
        )
