"""FoveaBox's head, trained by ranking."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from mmdet.models.dense_heads import FoveaHead
from mmdet.registry import MODELS
from mmdet.utils import InstanceList, OptInstanceList
from mmengine.structures import InstanceData
from torch import Tensor, nn

from rankdet.models.ranking_core import Rows, compares_corners
from rankdet.models.ranking_head import RankingDenseHead, by_image

# The head's targets are offsets over a level's base edge, clamped to [1/16, 16] before the log.
_LOG_RANGE = math.log(16.0)


@MODELS.register_module()
class RankFoveaHead(RankingDenseHead, FoveaHead):
    """FoveaBox's head whose ``loss_cls`` may be a ranking loss.

    Takes all arguments of :class:`mmdet.models.FoveaHead`. With a stock loss it gives exactly what
    the stock head gives, but stays connected to the graph where a process has no positive (the
    stock head then breaks DistributedDataParallel). With a ranking loss, predicted offsets are
    clamped to the range that targets have before the exponential: without it an IoU loss can
    overflow. Beside a ranking loss an IoU-type ``loss_bbox`` compares corners, and any other
    log-offsets.

    Raises:
        ValueError: if ``loss_cls`` and ``loss_bbox`` do not fit together or this head.
    """

    conv_cls: nn.Module  # the host's, as the next two
    prior_generator: Any
    base_edge_list: list[int]

    def classifiers(self) -> list[nn.Module]:
        return [self.conv_cls]

    def loss_by_feat(
        self, cls_scores: list[Tensor], bbox_preds: list[Tensor], *args: Any, **kwargs: Any
    ) -> dict:
        losses = super().loss_by_feat(cls_scores, bbox_preds, *args, **kwargs)
        if not losses['loss_bbox'].requires_grad:
            losses['loss_bbox'] = losses['loss_bbox'] + bbox_preds[0].flatten()[:0].sum()
        return losses

    def get_targets(
        self,
        batch_gt_instances: InstanceList,
        featmap_sizes: Sequence[tuple[int, ...]],
        priors_list: list[Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Those of :meth:`mmdet.models.FoveaHead.get_targets`, assigned on the CPU.

        The host's loop over objects cuts a slice for each, and asks a device for its four numbers
        time and again.
        """
        labels, targets = super().get_targets(
            [instances.to('cpu') for instances in batch_gt_instances],
            featmap_sizes,
            [priors.cpu() for priors in priors_list],
        )
        return labels.to(priors_list[0].device), targets.to(priors_list[0].device)

    def rows(
        self,
        cls_scores: Sequence[Tensor],
        bbox_preds: list[Tensor],
        gt_instances: InstanceList,
        img_metas: list[dict],
        gt_ignore: OptInstanceList = None,
    ) -> Rows:
        num_images, device = len(cls_scores[0]), cls_scores[0].device
        sizes = [score.shape[-2:] for score in cls_scores]
        points = self.prior_generator.grid_priors(sizes, dtype=torch.float32, device=device)
        of_levels = [
            level.new_full((len(level), 1), edge)
            for level, edge in zip(points, self.base_edge_list)
        ]
        centres, edges = (torch.cat(each).repeat(num_images, 1) for each in (points, of_levels))
        # The host lays targets out by level, then by image.
        lengths = [num_images * len(level) for level in points]
        labels, targets = (
            torch.cat([part.unflatten(0, (num_images, -1)) for part in flat.split(lengths)], 1)
            for flat in self.get_targets(gt_instances, sizes, points)
        )
        offsets, targets = by_image(bbox_preds, 4).flatten(0, 1), targets.flatten(0, 1)

        def boxes(chosen: Tensor | slice) -> tuple[Tensor, Tensor]:
            predicted, target = offsets[chosen].float(), targets[chosen]
            if not compares_corners(self.loss_cls, self.loss_bbox):
                return predicted, target
            centre, edge = centres[chosen], edges[chosen]
            predicted = predicted.clamp(-_LOG_RANGE, _LOG_RANGE)
            return corners(centre, edge, predicted), corners(centre, edge, target)

        return Rows(
            logits=by_image(cls_scores, self.cls_out_channels),
            labels=labels,
            weights=torch.ones_like(labels),
            image_ids=torch.arange(num_images, device=device),
            boxes=boxes,
        )

    def _predict_by_feat_single(
        self,
        cls_score_list: list[Tensor],
        bbox_pred_list: list[Tensor],
        *args: Any,
        **kwargs: Any,
    ) -> InstanceData:
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
