"""Greedy and soft non-maximum suppression with the semantics of mmcv's bindings."""

import numpy as np
import torch
import torchvision  # noqa: F401  registers torch.ops.torchvision
from torch import Tensor

from rankdet.compat.ops.precision import widened

NAIVE, LINEAR, GAUSSIAN = 0, 1, 2


@torch.no_grad()
def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Indices of the kept boxes by descending score; of tied scores the lower index first.

    A box goes if its IoU with a kept one is above ``iou_threshold``. Widths and heights are
    ``x2 - x1 + offset``. (Compiled mmcv leaves the order of tied scores to its sort.)
    """
    boxes, scores = widened(boxes, scores)
    if offset:
        boxes = boxes.clone()
        boxes[:, 2:] += offset
    # mmcv compares in float32: at 0.3 an IoU of exactly float32(0.3) is not above.
    return torch.ops.torchvision.nms(boxes, scores, float(np.float32(iou_threshold)))


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Writes the kept boxes with decayed scores to the first rows of ``dets`` (n, 5).

    Boxes are taken by descending current score. Each decays the others: ``naive`` (0) sets the
    score to 0 and ``linear`` (1) multiplies it by 1 - IoU where IoU >= ``iou_threshold``,
    ``gaussian`` (2) multiplies it by exp(-IoU^2 / sigma). Below ``min_score`` a box is dropped;
    the very first one is never. Tensors are on the CPU, as mmcv.ops hands them over.

    Returns: the indices of the kept boxes, in the order of ``dets``.
    """
    # numpy: n steps of a dozen small array operations, where torch's overhead would dominate.
    corners, given = (tensor.cpu().numpy() for tensor in widened(boxes, scores))
    decayed = given.copy()
    areas = (corners[:, 2] - corners[:, 0] + offset) * (corners[:, 3] - corners[:, 1] + offset)
    order = np.arange(len(corners))  # taken boxes in front, live ones behind
    taken = 0
    while taken < len(order):
        best = taken + int(np.argmax(decayed[order[taken:]]))
        order[[taken, best]] = order[[best, taken]]
        box, live = order[taken], order[taken + 1 :]
        low = np.maximum(corners[box, :2], corners[live, :2])
        high = np.minimum(corners[box, 2:], corners[live, 2:])
        inter = np.maximum(high - low + offset, 0).prod(axis=1)
        with np.errstate(divide='ignore', invalid='ignore'):  # boxes without area: NaN, no overlap
            iou = inter / (areas[box] + areas[live] - inter)
        decayed[live] *= _decay(iou, iou_threshold, sigma, method)
        live = _compact(live, decayed[live] >= min_score)
        order = np.concatenate([order[: taken + 1], live])
        taken += 1
    kept = torch.from_numpy(order)
    result = np.concatenate([corners[order], decayed[order, None]], axis=1)
    dets.detach()[: len(order)] = torch.from_numpy(result).to(dets)
    return kept


def _decay(iou: np.ndarray, iou_threshold: float, sigma: float, method: int) -> np.ndarray:
    if method == GAUSSIAN:
        return np.exp(-(iou * iou) / iou.dtype.type(sigma))
    overlaps = iou >= iou.dtype.type(iou_threshold)
    if method == LINEAR:
        return np.where(overlaps, 1 - iou, 1)
    if method == NAIVE:
        return np.where(overlaps, 0, 1)
    raise ValueError(f'method must be 0 (naive), 1 (linear) or 2 (gaussian), got {method!r}')


def _compact(items: np.ndarray, alive: np.ndarray) -> np.ndarray:
    """The live items, the last ones moved into the gaps: mmcv's order, which decides ties."""
    count = int(alive.sum())
    packed = items[:count].copy()
    gaps = np.flatnonzero(~alive[:count])
    packed[gaps] = items[count:][alive[count:]][::-1]
    return packed
