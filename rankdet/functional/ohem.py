"""Cross-entropy with online hard example mining, a baseline of the AP Loss paper."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ._groups import Groups
from ._inputs import check_number, read_inputs, wide
from ._operator import DerivativeOp


def ohem_cross_entropy_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    image_ids: Tensor | None = None,
    neg_ratio: float = 3.0,
    min_negatives: int = 0,
    use_sigmoid: bool = False,
    class_indices: bool = True,
) -> Tensor:
    r"""Cross-entropy of all positives and of the negatives with the highest loss.

    .. math::
        \frac{1}{\max(1, |P|)} \sum_{i \in P \cup M} \mathrm{CE}_i

    where M holds, for each image, ``neg_ratio`` times as many negatives as the image has
    positives, those with the highest cross-entropy. Without positives the loss is a zero connected
    to the graph, unless ``min_negatives`` asks for some. The gradient is the derivative, M fixed.

    Args:
        logits: softmax: ``(..., C + 1)``, the background last. Sigmoid: any shape, each logit an
            example of its own.
        targets: softmax: integers of shape ``logits.shape[:-1]``, 0..C-1 the positive class, C
            background, -1 ignored. Sigmoid: those, with logits ``(..., C)``, or with
            ``class_indices=False`` 1, 0, -1 in the shape of ``logits``.
        image_ids: integers of shape ``logits.shape[:1]`` or, sigmoid only, ``logits.shape``.
            None: the hardest negatives of the whole batch.
        neg_ratio: negatives for each positive, >= 0; 3 in SSD.
        min_negatives: fewest negatives taken from an image, whole and >= 0.
        use_sigmoid: binary cross-entropy of independent logits in place of the softmax.
        class_indices: how to read ``targets``. The softmax is defined on class indices only, hence
            the default, unlike that of the ranking losses.

    Returns:
        Scalar, float32 or wider.

    Raises:
        TypeError: a dtype that cannot be meant.
        ValueError: shapes or values out of range.

    Reference:
        Shrivastava, Gupta, Girshick: Training Region-based Object Detectors with Online Hard
        Example Mining. CVPR 2016; the ratio: Liu et al.: SSD. ECCV 2016.

    Example:
        >>> logits = torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.0, 9.0]])
        >>> loss = ohem_cross_entropy_loss(logits, torch.tensor([0, 1, 1]), neg_ratio=1)
        >>> round(loss.item(), 4)  # log(1 + exp(-2)) + log(1 + exp(-1))
        0.4402
    """
    check_number('neg_ratio', neg_ratio, minimum=0)
    check_number('min_negatives', min_negatives, minimum=0)
    if min_negatives != int(min_negatives):
        raise ValueError(f'min_negatives must be a whole number, got {min_negatives!r}')
    if not use_sigmoid:
        if not class_indices:
            raise ValueError('class_indices must be True for the softmax, got False')
        if image_ids is not None and image_ids.shape == logits.shape and logits.ndim > 1:
            raise ValueError(
                f'image_ids must have shape {tuple(logits.shape[:1])} for the softmax, '
                f'got {tuple(image_ids.shape)}'
            )
    return _OP(
        logits, targets, image_ids, class_indices, use_sigmoid, float(neg_ratio),
        int(min_negatives),
    )  # fmt: skip


def _compute(
    logits: Tensor,
    targets: Tensor,
    image_ids: Tensor | None,
    class_indices: bool,
    with_gradient: bool,
    use_sigmoid: bool,
    neg_ratio: float,
    min_negatives: int,
) -> tuple[Tensor, Tensor | None]:
    if use_sigmoid:
        inputs = read_inputs(logits, targets, class_indices=class_indices, image_ids=image_ids)
        scores, is_negative = inputs.scores, inputs.is_negative
        is_positive = torch.zeros_like(is_negative).index_fill_(0, inputs.positives, True)
        losses = -F.logsigmoid(torch.where(is_positive, scores, -scores))
    else:
        scores, labels = _read_rows(logits, targets)
        background = scores.shape[1] - 1
        is_positive, is_negative = (labels >= 0) & (labels < background), labels == background
        losses = F.cross_entropy(scores, labels, reduction='none', ignore_index=-1)
    ids = None if image_ids is None else image_ids.reshape(-1)
    groups = Groups.from_ids(ids, len(losses), losses.device)
    num_positives = groups.sum(is_positive.to(losses.dtype))
    quota = (neg_ratio * num_positives).clamp(min=min_negatives)
    kept = is_positive | groups.hardest(losses, is_negative, quota)
    normalizer = num_positives.sum().clamp(min=1).to(losses.dtype)
    # Filled, not multiplied: an infinite loss that is not kept may not become NaN.
    value = losses.masked_fill_(~kept, 0).sum() / normalizer
    if not with_gradient:
        return value, None
    if use_sigmoid:
        gradient = scores.sigmoid() - is_positive.to(scores.dtype)
    else:
        gradient = scores.softmax(1)
        gradient.scatter_add_(1, labels.clamp(min=0)[:, None], -torch.ones_like(gradient[:, :1]))
        kept = kept[:, None]
    return value, gradient.masked_fill_(~kept, 0).div_(normalizer)


_OP = DerivativeOp(
    'ohem_cross_entropy', _compute, 'bool use_sigmoid, float neg_ratio, int min_negatives'
)


def _read_rows(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """``(rows, C + 1)`` wide scores and ``(rows,)`` labels, whose values are checked."""
    background = logits.shape[-1] - 1
    if background < 0:
        raise ValueError('logits must have a last axis of C + 1 channels, got 0')
    labels = targets.reshape(-1).long()
    if labels.numel():
        low, high = torch.stack(labels.aminmax()).tolist()
        if low < -1 or high > background:
            raise ValueError(
                f'targets must hold 0..{background - 1} (positive class), {background} '
                f'(background) and -1 (ignored), got values from {low} to {high}'
            )
    return logits.reshape(-1, background + 1).to(wide(logits.dtype)), labels
