"""FoveaBox's head, trained by ranking."""

from __future__ import annotations

import math

import torch
from mmdet.models.dense_heads import FoveaHead
from mmdet.registry import MODELS
from mmengine.model import bias_init_with_prob
from torch import Tensor, nn

from rankdet.models.losses import RankingLoss
from rankdet.models.ranking_core import Rows, check_losses, ranking_losses

# The head's targets are offsets over a level's base edge, clamped to [1/16, 16] before the log.
_LOG_RANGE = math.log(16.0)


@MODELS.register_module()
class RankFoveaHead(FoveaHead):
    """FoveaBox's head whose ``loss_cls`` may be a ranking loss.

    Takes all arguments of :class:`mmdet.models.FoveaHead`. With a stock loss it gives exactly what
    the stock head gives, but stays connected to the graph where a process has no positive (the
    stock head then breaks DistributedDataParallel). With a ranking loss, predicted offsets are
    clamped to the range that targets have before the exponential: without it an IoU loss can
    overflow. ``loss_bbox`` is a loss on corners where the ranking loss needs localisation errors
    (aLRP), and on log-offsets otherwise.

    Raises:
        ValueError: if ``loss_cls`` and ``loss_bbox`` do not fit together or this head.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        check_losses(self, self.loss_cls, self.loss_bbox)

    @property
    def ranks(self) -> bool:
        """Whether ``loss_cls`` must see the whole batch at once."""
        return isinstance(self.loss_cls, RankingLoss)

    def _init_layers(self) -> None:
        if self.ranks:
            self.use_sigmoid_cls = self.loss_cls.use_sigmoid
            self.cls_out_channels = self.num_classes + (not self.use_sigmoid_cls)
        super()._init_layers()

    def init_weights(self) -> None:
        super().init_weights()
        if self.ranks and self.use_sigmoid_cls:
            bias = bias_init_with_prob(self.loss_cls.prior_prob)
            nn.init.constant_(self.conv_cls.bias, bias)

    def loss_by_feat(
        self,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        batch_gt_instances,
        batch_img_metas: list[dict],
        batch_gt_instances_ignore=None,
    ) -> dict:
        """Losses of a batch, as of :meth:`mmdet.models.FoveaHead.loss_by_feat`.

        Args:
            cls_scores: one tensor ``(N, C, H, W)`` per level.
            bbox_preds: log-offsets to the four sides, one tensor ``(N, 4, H, W)`` per level.
        """
        if not self.ranks:
            losses = super().loss_by_feat(
                cls_scores,
                bbox_preds,
                batch_gt_instances,
                batch_img_metas,
                batch_gt_instances_ignore,
            )
            if not losses['loss_bbox'].requires_grad:
                losses['loss_bbox'] = bbox_preds[0].flatten()[:0].sum()
            return losses
        rows = self._rows(cls_scores, bbox_preds, batch_gt_instances)
        return ranking_losses(self.loss_cls, self.loss_bbox, rows, self.num_classes)

    def _rows(self, cls_scores, bbox_preds, gt_instances) -> Rows:
        """Assign targets, then lay everything out as the host does: by level, then by image."""
        num_images, device = cls_scores[0].shape[0], cls_scores[0].device
        sizes = [score.shape[-2:] for score in cls_scores]
        points = self.prior_generator.grid_priors(sizes, dtype=torch.float32, device=device)
        labels, targets = self.get_targets(gt_instances, sizes, points)

        def flatten(maps: list[Tensor], channels: int) -> Tensor:
            return torch.cat([m.permute(0, 2, 3, 1).reshape(-1, channels) for m in maps])

        offsets = flatten(bbox_preds, 4)
        centres = torch.cat([level.repeat(num_images, 1) for level in points])
        edges = [
            level.new_full((num_images * len(level), 1), edge)
            for level, edge in zip(points, self.base_edge_list)
        ]
        edges = torch.cat(edges)
        images = torch.arange(num_images, device=device)

        def boxes(chosen: Tensor | slice) -> tuple[Tensor, Tensor]:
            predicted = offsets[chosen].float()
            if not self.loss_cls.needs_loc_errors:
                return predicted, targets[chosen]
            centre, edge = centres[chosen], edges[chosen]
            return (
                corners(centre, edge, predicted.clamp(-_LOG_RANGE, _LOG_RANGE)),
                corners(centre, edge, targets[chosen]),
            )

        return Rows(
            logits=flatten(cls_scores, self.cls_out_channels),
            labels=labels,
            weights=torch.ones_like(labels),
            image_ids=torch.cat([images.repeat_interleave(len(level)) for level in points]),
            boxes=boxes,
        )

    def _predict_by_feat_single(self, cls_score_list, bbox_pred_list, *args, **kwargs):
        if self.ranks:
            bbox_pred_list = [pred.clamp(-_LOG_RANGE, _LOG_RANGE) for pred in bbox_pred_list]
        if not self.use_sigmoid_cls:
            cls_score_list = [_softmax_as_log_odds(score) for score in cls_score_list]
        return super()._predict_by_feat_single(cls_score_list, bbox_pred_list, *args, **kwargs)


def corners(centres: Tensor, edges: Tensor, log_offsets: Tensor) -> Tensor:
    """Boxes x1, y1, x2, y2, shape ``(P, 4)``, from points and log-offsets to the four sides.

    Args:
        centres: ``(P, 2)``.
        edges: ``(P, 1)`` base edge of each point's level.
        log_offsets: ``(P, 4)`` left, top, right, bottom.
    """
    offsets = edges * log_offsets.exp()
    return torch.cat([centres - offsets[:, :2], centres + offsets[:, 2:]], 1)


def _softmax_as_log_odds(score: Tensor) -> Tensor:
    """Logits ``(C + 1, H, W)`` whose sigmoid is the softmax of ``score``, and 0 for background:
    the stock head scores by a sigmoid whatever it was trained with."""
    log_odds = torch.logit(score.softmax(0))
    log_odds[-1] = -math.inf
    return log_odds
