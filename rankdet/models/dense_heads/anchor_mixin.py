"""Anchor-based heads of MMDetection that may rank: RetinaNet's, SSD's and the RPN."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from mmdet.models.dense_heads.anchor_head import anchor_inside_flags
from mmdet.models.task_modules.assigners import AssignResult, BaseAssigner
from mmdet.structures.bbox import get_box_tensor
from mmdet.utils import InstanceList, OptInstanceList
from mmengine.structures import InstanceData
from torch import Tensor

from rankdet.models.ranking_core import Rows
from rankdet.models.ranking_head import RankingDenseHead, by_image


class _ByLevel:
    """Lets an assigner that asks for ``num_level_priors`` (ATSS) serve a head that does not say."""

    def __init__(self, assigner: BaseAssigner) -> None:
        self.assigner = assigner
        self.num_level_priors: list[int] = []

    def assign(
        self,
        pred_instances: InstanceData,
        gt_instances: InstanceData,
        gt_instances_ignore: InstanceData | None = None,
    ) -> AssignResult:
        return self.assigner.assign(
            pred_instances, self.num_level_priors, gt_instances, gt_instances_ignore
        )


class RankingAnchorMixin(RankingDenseHead):
    """First base of an anchor head that may rank, and may use assigners by level (ATSS).

    It has the :meth:`~rankdet.models.ranking_head.RankingDenseHead.rows` of subclasses of
    :class:`mmdet.models.AnchorHead`, which have to say only which layers are ``classifiers``.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        assigner = getattr(self, 'assigner', None)
        if assigner and 'num_level_priors' in inspect.signature(assigner.assign).parameters:
            self.assigner = _ByLevel(assigner)

    def _get_targets_single(
        self,
        flat_anchors: Tensor,
        valid_flags: Tensor,
        gt_instances: InstanceData,
        img_meta: dict,
        *args: Any,
        **kw: Any,
    ) -> tuple[Tensor, ...]:
        if isinstance(self.assigner, _ByLevel):
            inside = anchor_inside_flags(
                flat_anchors,
                valid_flags,
                img_meta['img_shape'][:2],
                self.train_cfg['allowed_border'],
            )
            levels = inside.split(self._level_sizes)
            counts = torch.stack([level.sum() for level in levels])
            self.assigner.num_level_priors = counts.tolist()  # one wait, not one a level
        return super()._get_targets_single(
            flat_anchors, valid_flags, gt_instances, img_meta, *args, **kw
        )

    def get_targets(self, anchor_list: list[list[Tensor]], *args: Any, **kwargs: Any) -> tuple:
        self._level_sizes = [len(anchors) for anchors in anchor_list[0]]
        return super().get_targets(anchor_list, *args, **kwargs)

    def rows(
        self,
        cls_scores: Sequence[Tensor],
        bbox_preds: list[Tensor],
        gt_instances: InstanceList,
        img_metas: list[dict],
        gt_ignore: OptInstanceList = None,
    ) -> Rows:
        sizes = [score.shape[-2:] for score in cls_scores]
        device = cls_scores[0].device
        anchors, valid_flags = self.get_anchors(sizes, img_metas, device=device)
        flat_anchors = torch.cat([get_box_tensor(torch.cat(levels)) for levels in anchors])
        labels, weights, box_targets, _, _ = self.get_targets(
            anchors, valid_flags, gt_instances, img_metas, batch_gt_instances_ignore=gt_ignore
        )[:5]
        deltas = by_image(bbox_preds, self.bbox_coder.encode_size).flatten(0, 1)
        box_targets = torch.cat(box_targets, 1).flatten(0, 1)

        def boxes(chosen: Tensor | slice) -> tuple[Tensor, Tensor]:
            return self.regressed(flat_anchors[chosen], deltas[chosen]), box_targets[chosen]

        return Rows(
            logits=by_image(cls_scores, self.cls_out_channels),
            labels=torch.cat(labels, 1),
            weights=torch.cat(weights, 1),
            image_ids=torch.arange(len(img_metas), device=device),
            boxes=boxes,
        )
