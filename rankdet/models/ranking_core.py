"""The one place where a head's predictions meet a loss that must see them all at once.

Dense heads and RoI heads differ in how they assign targets and lay out their predictions. Once
these are flat rows, everything that follows is the same for all of them and stands here.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from mmdet.models.losses import (
    BoundedIoULoss,
    CIoULoss,
    DIoULoss,
    EIoULoss,
    GIoULoss,
    IoULoss,
    SIoULoss,
)
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from rankdet.models.host_constants import ConstantsMadeOnDevice
from rankdet.models.host_head import BoxLoss
from rankdet.models.losses import RankingLoss

if TYPE_CHECKING:
    from rankdet.models.ranking_head import RankingHead

# 1 - IoU lies in [0, 1]. The errors of these measures reach 2 (a little more with the aspect
# terms of CIoU, EIoU and SIoU), so the paper halves them: (1 - GIoU) / (2 (1 - tau)).
_SIGNED_IOU_LOSSES = (GIoULoss, DIoULoss, CIoULoss, EIoULoss, SIoULoss)
_IOU_LOSSES = (IoULoss, BoundedIoULoss, *_SIGNED_IOU_LOSSES)


class Rows(NamedTuple):
    """Predictions of a batch as rows, one per anchor, point or proposal.

    Attributes:
        logits: ``(N, A, C)`` or ``(A, C)``.
        labels: shape ``logits.shape[:-1]``; 0..num_classes-1, or num_classes for background.
        weights: same shape; a row of weight 0 is ignored.
        image_ids: ``(N,)`` or ``(A,)``: the image of each leading entry of logits.
        boxes: maps indices among the flattened rows, ``(P,)`` or the slice of all, to their
            predicted and target boxes, two tensors ``(P, 4)``: deltas, or corners x1, y1, x2, y2
            where the head regresses decoded boxes. Only those of positives mean anything.
    """

    logits: Tensor
    labels: Tensor
    weights: Tensor
    image_ids: Tensor
    boxes: Callable[[Tensor | slice], tuple[Tensor, Tensor]]


def ranking_losses(
    loss_cls: RankingLoss, loss_bbox: BoxLoss, rows: Rows, num_classes: int
) -> dict[str, Tensor]:
    """Classification and box loss of a whole batch under a ranking loss.

    On the CPU only the boxes of the positives are decoded and compared. Elsewhere the host would
    have to wait until they are counted: there the boxes of all rows are, and nothing here
    synchronises. Without positives both losses are zeros that stay connected to the graph, so that
    no parameter of a distributed model lacks a gradient.

    Args:
        loss_cls: a ranking loss. If it needs localisation errors, ``loss_bbox`` gives them.
        loss_bbox: box loss of the host. Beside AP, AUC and DR it is summed over the positives
            and divided by ``max(1, |P|)``.
        rows: what the head predicted and what was assigned to it.
        num_classes: number of classes without background.

    Returns:
        ``dict(loss_cls=scalar, loss_bbox=scalar)``.
    """
    targets = torch.where(rows.weights > 0, rows.labels, -1)
    flat = targets.flatten()
    is_positive = (flat >= 0) & (flat < num_classes)
    if counting_waits(rows.logits, loss_bbox):
        return _losses_of_all_rows(loss_cls, loss_bbox, rows, targets, is_positive)
    positives = is_positive.nonzero().squeeze(1)
    predicted, target = rows.boxes(positives)
    predicted, target = predicted.float(), target.float()

    if loss_cls.needs_loc_errors:
        errors = localisation_errors(loss_bbox, predicted, target, loss_cls.tau)
        cls, loc = loss_cls(
            rows.logits, targets, class_indices=True, image_ids=rows.image_ids, loc_errors=errors
        )
        return dict(loss_cls=cls, loss_bbox=loc * loss_bbox.loss_weight)

    cls = loss_cls(rows.logits, targets, class_indices=True, image_ids=rows.image_ids)
    normaliser = loss_cls.box_normaliser(positives.numel(), predicted)
    if positives.numel() == 0:
        return dict(loss_cls=cls, loss_bbox=predicted.sum())
    return dict(loss_cls=cls, loss_bbox=loss_bbox(predicted, target, avg_factor=normaliser))


def counting_waits(logits: Tensor, loss_bbox: BoxLoss) -> bool:
    """Whether all rows' boxes are to be compared, so that no one waits for a count."""
    return logits.device.type != 'cpu' and getattr(loss_bbox, 'reduction', None) == 'mean'


def _losses_of_all_rows(
    loss_cls: RankingLoss, loss_bbox: BoxLoss, rows: Rows, targets: Tensor, is_positive: Tensor
) -> dict[str, Tensor]:
    options: dict[str, Any] = dict(class_indices=True, image_ids=rows.image_ids)

    def compare(is_positive: Tensor) -> Tensor:
        with ConstantsMadeOnDevice():
            # Any box, the same in both, where there is none: no loss has trouble with it.
            predicted, target = (
                torch.where(is_positive[:, None], boxes.float(), _unit_box(boxes))
                for boxes in rows.boxes(slice(None))
            )
            if loss_cls.needs_loc_errors:
                errors = localisation_errors(loss_bbox, predicted, target, loss_cls.tau)
            else:
                errors = loss_bbox(predicted, target, reduction_override='none')
        return torch.where(is_positive.view(-1, *[1] * (errors.ndim - 1)), errors, 0)

    if type(loss_bbox).__module__.startswith('mmdet.'):
        # Its dozens of tensors as long as all rows are made again in the backward pass, not kept
        # beside what the ranking needs.
        errors = checkpoint(
            compare,
            is_positive,
            use_reentrant=False,
            preserve_rng_state=False,
            determinism_check='none',
        )
    else:  # another's may keep statistics of what it sees, and must see it once
        errors = compare(is_positive)

    if loss_cls.needs_loc_errors:
        cls, loc = loss_cls(rows.logits, targets, loc_errors=errors.view(targets.shape), **options)
        return dict(loss_cls=cls, loss_bbox=loc * loss_bbox.loss_weight)

    cls = loss_cls(rows.logits, targets, **options)
    normaliser = loss_cls.box_normaliser(is_positive.sum(), errors)
    # The host adds as much to what it divides by.
    eps = torch.finfo(torch.float32).eps
    return dict(loss_cls=cls, loss_bbox=errors.sum() / (normaliser + eps))


def _unit_box(like: Tensor) -> Tensor:
    box = torch.zeros(4, device=like.device)
    box[2:].fill_(1)
    return box


def stock_losses(
    loss_cls: nn.Module, loss_bbox: BoxLoss, rows: Rows, num_classes: int
) -> dict[str, Tensor]:
    """The same rows under stock losses, for a head that has no such path of its own.

    Both are sums over rows divided by the number of positives, at least one an image, as the
    host's anchor heads do it.

    Returns:
        ``dict(loss_cls=scalar, loss_bbox=scalar)``.
    """
    labels = rows.labels.flatten()
    weights = rows.weights.flatten()
    is_positive = (labels >= 0) & (labels < num_classes) & (weights > 0)
    positives = is_positive.nonzero().squeeze(1)
    predicted, target = rows.boxes(positives)
    per_image = is_positive.view(len(rows.image_ids), -1).sum(1)
    avg_factor = per_image.clamp(min=1).sum()
    logits = rows.logits.flatten(0, -2)
    cls = loss_cls(logits, labels, weights, avg_factor=avg_factor)
    if positives.numel() == 0:
        return dict(loss_cls=cls, loss_bbox=predicted.sum())
    return dict(loss_cls=cls, loss_bbox=loss_bbox(predicted, target, avg_factor=avg_factor))


def localisation_errors(
    loss_bbox: BoxLoss, predicted: Tensor, target: Tensor, tau: float
) -> Tensor:
    """The errors E of aLRP Loss, one per positive: ``(1 - IoU) / (1 - tau)`` or, for GIoU and its
    kin, ``(1 - GIoU) / (2 (1 - tau))`` (Oksuz et al. 2020, Sec. 3.2).

    Args:
        predicted, target: ``(P, 4)`` corners.
        tau: IoU from which an anchor is positive.

    Returns:
        ``(P,)``, connected to ``predicted`` even when there is no positive.
    """
    if predicted.numel() == 0:
        return predicted.sum(1)
    span = 2.0 if isinstance(loss_bbox, _SIGNED_IOU_LOSSES) else 1.0
    errors = loss_bbox(predicted, target, reduction_override='none')
    return errors / (loss_bbox.loss_weight * span * (1.0 - tau))


def compares_corners(loss_cls: nn.Module, loss_bbox: BoxLoss) -> bool:
    """Whether ``loss_bbox`` takes the corners of boxes, and deltas mean nothing to it."""
    return isinstance(loss_bbox, _IOU_LOSSES) or getattr(loss_cls, 'needs_loc_errors', False)


def check_losses(head: RankingHead, loss_cls: nn.Module, loss_bbox: BoxLoss) -> None:
    """Refuse a pair of losses that this head could not train with, before training starts.

    The losses are tried on copies: some of them keep statistics of what they see.

    Raises:
        ValueError: names the head, the loss and the remedy.
    """
    name, cls_name, box_name = (type(m).__name__ for m in (head, loss_cls, loss_bbox))
    if isinstance(loss_cls, RankingLoss) and loss_cls.needs_loc_errors:
        _check_errors(f'{name}: {cls_name}', loss_cls, loss_bbox)
    decodes = getattr(head, 'reg_decoded_bbox', True)  # FoveaBox's head does so as needed
    if head.adapts and compares_corners(loss_cls, loss_bbox) and not decodes:
        raise ValueError(
            f'{name}: {box_name} compares decoded boxes; set reg_decoded_bbox=True beside it'
        )
    if not isinstance(loss_cls, RankingLoss):
        _check_stock(name, head, loss_cls)


def _check_errors(who: str, loss_cls: RankingLoss, loss_bbox: BoxLoss) -> None:
    box_name = type(loss_bbox).__name__
    remedy = (
        "use loss_bbox=dict(_delete_=True, type='GIoULoss') or "
        "dict(_delete_=True, type='IoULoss', mode='linear'), with reg_decoded_bbox=True"
    )
    corners = torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 4.0, 4.0], [1.0, 1.0, 3.0, 3.0]])
    try:
        shape = deepcopy(loss_bbox)(corners, corners + 1, reduction_override='none').shape
    except Exception as error:
        shape = f'an error: {error}'
    if shape != (3,):
        raise ValueError(
            f'{who} needs one localisation error per box, but {box_name} gives '
            f'{tuple(shape) if isinstance(shape, torch.Size) else shape}; {remedy}'
        )
    if isinstance(loss_bbox, IoULoss) and loss_bbox.mode != 'linear':
        raise ValueError(
            f'{who} needs errors 1 - IoU, but {box_name} has mode={loss_bbox.mode!r}; {remedy}'
        )
    if not loss_bbox.loss_weight > 0:
        raise ValueError(
            f'{who} needs {box_name} with loss_weight > 0, got {loss_bbox.loss_weight}'
        )


def _check_stock(name: str, head: RankingHead, loss_cls: nn.Module) -> None:
    channels = head.cls_out_channels
    labels = torch.arange(head.num_classes + 1)
    try:
        with torch.no_grad():
            value = deepcopy(loss_cls)(
                torch.zeros(len(labels), channels), labels, torch.ones(len(labels)), avg_factor=1.0
            )
        values = value.values() if isinstance(value, dict) else [value]
        if not all(isinstance(value, Tensor) and value.numel() == 1 for value in values):
            raise TypeError('it gives no scalar')
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(
            f'{name} cannot take loss_cls={type(loss_cls).__name__}: called with logits '
            f'{len(labels), channels}, labels, weights and avg_factor it failed ({reason}). Use '
            'one of rankdet (APLoss, AUCLoss, aLRPLoss, DRLoss, OHEMCrossEntropyLoss, ...), '
            'FocalLoss or CrossEntropyLoss'
        ) from error
