"""What heads that may rank have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmdet.structures.bbox import get_box_tensor
from mmdet.utils import InstanceList, OptInstanceList
from mmengine.model import update_init_info
from mmengine.model.weight_init import BaseInit
from torch import Tensor, nn

from rankdet.models.host_head import HostDenseHead, HostHead
from rankdet.models.losses import RankingLoss
from rankdet.models.ranking_core import Rows, check_losses, ranking_losses, stock_losses


class PriorBias(BaseInit):
    """Starts the classifiers of a head at the probability ``bias_prob``.

    As the last entry of ``init_cfg`` it follows what fills the weights at random and precedes
    what MMEngine reads from a file (``Pretrained``).
    """

    def __call__(self, head: RankingHead) -> None:
        for layer in head.classifiers():
            nn.init.constant_(layer.get_parameter('bias'), self.bias)
        if hasattr(head, '_params_init_info'):
            update_init_info(head, init_info=f'PriorBias: bias={self.bias:.4g}')


class RankingHead(HostHead):
    """First base of a head, before the host's: ``loss_cls`` may be a ranking loss.

    A ranking loss gets a whole batch in one call. It also decides the channels (one per class if
    it is by sigmoid, one more if by softmax) and the probability that scores start at, its
    ``prior_prob``. With a stock loss the head is the stock head in both, so that the RPN starts at
    0.5 whatever its loss. The exceptions are losses that the stock head cannot take: any loss in
    SSD, FocalLoss in the box head. They decide the channels as ranking losses do, and by sigmoid
    start at 0.01. An ``init_cfg`` of the config's own that has a ``bias_prob`` is left as it is.

    Raises:
        ValueError: if ``loss_cls`` and ``loss_bbox`` do not fit together or this head.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fit_channels()  # once more: what the host set after its layers
        if self.adapts and self.use_sigmoid_cls and not _has_bias_prob(kwargs.get('init_cfg')):
            prior = getattr(self.loss_cls, 'prior_prob', RankingLoss.prior_prob)
            host = self.init_cfg or []
            host = host if isinstance(host, list) else [host]
            self.init_cfg = [*host, dict(type=PriorBias, bias_prob=prior)]
        if self.loss_cls is not None:
            check_losses(self, self.loss_cls, self.loss_bbox)

    @property
    def ranks(self) -> bool:
        """Whether ``loss_cls`` must see the whole batch at once."""
        return isinstance(self.loss_cls, RankingLoss)

    @property
    def adapts(self) -> bool:
        """Whether ``loss_cls`` decides channels and initial bias, not the stock head."""
        return self.ranks

    def fit_channels(self) -> None:
        """Make the channels those of ``loss_cls``, where it decides them."""
        if self.adapts:
            self.use_sigmoid_cls = getattr(self.loss_cls, 'use_sigmoid', False)
            self.cls_out_channels = self.num_classes + (not self.use_sigmoid_cls)

    def classifiers(self) -> list[nn.Module]:
        """The layers whose output are the logits."""
        raise NotImplementedError

    def regressed(self, priors: Tensor, deltas: Tensor) -> Tensor:
        """What ``loss_bbox`` compares: deltas ``(P, 4)``, or their corners where it needs them."""
        deltas = deltas.float()
        if not self.reg_decoded_bbox:
            return deltas
        return get_box_tensor(self.bbox_coder.decode(priors, deltas))


def _has_bias_prob(init_cfg: dict | list[dict] | None) -> bool:
    """Whether it says what probability scores start at, for the whole head or a layer of it."""
    entries = init_cfg if isinstance(init_cfg, (list, tuple)) else [init_cfg] if init_cfg else []
    return any('bias_prob' in entry or _has_bias_prob(entry.get('override')) for entry in entries)


class RankingDenseHead(RankingHead, HostDenseHead):
    """First base of a dense head: the batch is all levels of all images.

    A head that derives from it and from one of the host's has ``classifiers`` and ``rows``.
    """

    def _init_layers(self) -> None:
        self.fit_channels()
        super()._init_layers()

    def loss_by_feat(
        self,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        batch_gt_instances: InstanceList,
        batch_img_metas: list[dict],
        batch_gt_instances_ignore: OptInstanceList = None,
    ) -> dict:
        """Losses of a batch, as of the stock head's method of this name.

        Args:
            cls_scores: one tensor ``(N, anchors * C, H, W)`` per level.
            bbox_preds: one tensor ``(N, anchors * 4, H, W)`` per level.
        """
        inputs = (
            cls_scores,
            bbox_preds,
            batch_gt_instances,
            batch_img_metas,
            batch_gt_instances_ignore,
        )
        if not self.adapts:
            return super().loss_by_feat(*inputs)
        losses = ranking_losses if self.ranks else stock_losses
        return losses(self.loss_cls, self.loss_bbox, self.rows(*inputs), self.num_classes)

    def rows(
        self,
        cls_scores: Sequence[Tensor],
        bbox_preds: list[Tensor],
        gt_instances: InstanceList,
        img_metas: list[dict],
        gt_ignore: OptInstanceList = None,
    ) -> Rows:
        """Predictions and what is assigned to them as (image, place over all levels)."""
        raise NotImplementedError


def by_image(maps: Sequence[Tensor], channels: int) -> Tensor:
    """Maps of all levels, ``(N, A * channels, H, W)`` each, as ``(N, places, channels)``.

    A place is one of the A anchors of a pixel; all those of a level come before the next level's.
    """
    return torch.cat([m.permute(0, 2, 3, 1).reshape(len(m), -1, channels) for m in maps], 1)
