"""DR Loss by kernels: one pass for both softmaxes of every image, one for the gradients.

An image's distributions need its largest negative and its sums at once. Each block takes sums
relative to its own largest score; few numbers a block are then put together, row by row and image
by image: of a batch of images by two small kernels, of thousands of rows by torch. No positive is
looked up, none is counted, and no addition depends on timing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from ._device import launch, read_targets, surrogate

_MOST = 1024  # scores a block
_SUMS = 6  # numbers a block
_TERMS = 6  # numbers an image
FEW_ROWS = 64  # that are compared with each other by one program


class State(NamedTuple):
    """What the second pass needs: ``(count, 6)`` terms of each image, ``(rows,)`` image of each."""

    terms: Tensor
    image: Tensor


@triton.jit
def sum_blocks(
    logits, targets, sums, width, blocks, POS_RATE, NEG_RATE,
    CLASSES: tl.constexpr, CLASS_INDICES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Of a block: largest negative, sums of q and q p; lowest positive, sums of q and q p."""
    row = tl.program_id(0) // blocks
    column = (tl.program_id(0) % blocks) * BLOCK + tl.arange(0, BLOCK)
    inside = column < width
    index = row * width + column
    score = tl.load(logits + index, mask=inside, other=0).to(tl.float32)
    is_negative, is_positive = read_targets(targets, index, inside, CLASSES, CLASS_INDICES)
    if CLASS_INDICES:
        label = tl.load(targets + index // CLASSES, mask=inside, other=-1).to(tl.int64)
        strange = inside & ((label < -1) | (label > CLASSES))
    else:
        # Of any type, unsigned too; so large a label that it is rounded stays strange.
        label = tl.load(targets + index, mask=inside, other=0).to(tl.float32)
        known = is_negative | is_positive | (label == -1)
        strange = inside & (known.to(tl.int32) == 0)  # `~` fails in the interpreter of Triton 3.2
    poison = tl.where(tl.max(strange.to(tl.int32)) > 0, float('nan'), 0.0)
    p = tl.sigmoid(score)
    largest = tl.max(tl.where(is_negative, p, 0.0))
    q = tl.where(is_negative, tl.exp((p - largest) * NEG_RATE), 0.0)
    lowest = tl.min(tl.where(is_positive, p, 1.0))
    r = tl.where(is_positive, tl.exp((lowest - p) * POS_RATE), 0.0)
    own = sums + tl.program_id(0) * 6
    tl.store(own, largest)
    tl.store(own + 1, tl.sum(q) + poison)
    tl.store(own + 2, tl.sum(tl.where(is_negative, q * p, 0.0)))
    tl.store(own + 3, lowest)
    tl.store(own + 4, tl.sum(r))
    tl.store(own + 5, tl.sum(tl.where(is_positive, r * p, 0.0)))


@triton.jit
def combine_rows(sums, row_sums, blocks, POS_RATE, NEG_RATE, BLOCK: tl.constexpr):
    """The six numbers of a row, float64, from those of its blocks."""
    row = tl.program_id(0)
    own = sums + row * blocks * 6
    highest = tl.zeros((BLOCK,), tl.float32)
    least = tl.zeros((BLOCK,), tl.float32) + 1.0
    for start in range(0, blocks, BLOCK):
        block = start + tl.arange(0, BLOCK)
        inside = block < blocks
        highest = tl.maximum(highest, tl.load(own + block * 6, mask=inside, other=0.0))
        least = tl.minimum(least, tl.load(own + block * 6 + 3, mask=inside, other=1.0))
    largest, lowest = tl.max(highest), tl.min(least)
    q, q_p = tl.zeros((BLOCK,), tl.float64), tl.zeros((BLOCK,), tl.float64)
    r, r_p = tl.zeros((BLOCK,), tl.float64), tl.zeros((BLOCK,), tl.float64)
    for start in range(0, blocks, BLOCK):
        block = start + tl.arange(0, BLOCK)
        inside = block < blocks
        below = tl.load(own + block * 6, mask=inside, other=0.0) - largest
        scale = tl.exp(below.to(tl.float64) * NEG_RATE)
        q += scale * tl.load(own + block * 6 + 1, mask=inside, other=0.0)
        q_p += scale * tl.load(own + block * 6 + 2, mask=inside, other=0.0)
        above = lowest - tl.load(own + block * 6 + 3, mask=inside, other=1.0)
        scale = tl.exp(above.to(tl.float64) * POS_RATE)
        r += scale * tl.load(own + block * 6 + 4, mask=inside, other=0.0)
        r_p += scale * tl.load(own + block * 6 + 5, mask=inside, other=0.0)
    result = row_sums + row * 6
    tl.store(result, largest.to(tl.float64))
    tl.store(result + 1, tl.sum(q))
    tl.store(result + 2, tl.sum(q_p))
    tl.store(result + 3, lowest.to(tl.float64))
    tl.store(result + 4, tl.sum(r))
    tl.store(result + 5, tl.sum(r_p))


@triton.jit
def combine_images(
    row_sums, ids, terms, loss, rows, SMOOTHNESS, RHO, MARGIN, POS_RATE, NEG_RATE,
    HAS_IDS: tl.constexpr, KIND: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The loss, and for each row the terms of its image. One program compares all rows."""
    i, j = tl.arange(0, BLOCK)[:, None], tl.arange(0, BLOCK)[None, :]
    inside_i, inside_j = i < rows, j < rows
    same = inside_i & inside_j
    if HAS_IDS:
        own = tl.load(ids + i, mask=inside_i, other=0)
        same = same & (own == tl.load(ids + j, mask=inside_j, other=0))
    place = row_sums + j * 6
    extreme = tl.load(place, mask=inside_j, other=0.0)
    largest = tl.max(tl.where(same, extreme, 0.0), 1)
    below = tl.where(same, extreme - largest[:, None], 0.0)
    scale = tl.where(same, tl.exp(below * NEG_RATE), 0.0)
    total = tl.sum(tl.where(same, scale * tl.load(place + 1, mask=inside_j, other=0.0), 0.0), 1)
    mean_negative = tl.sum(
        tl.where(same, scale * tl.load(place + 2, mask=inside_j, other=0.0), 0.0), 1
    )
    extreme = tl.load(place + 3, mask=inside_j, other=1.0)
    lowest = tl.min(tl.where(same, extreme, 1.0), 1)
    above = tl.where(same, lowest[:, None] - extreme, 0.0)
    scale = tl.where(same, tl.exp(above * POS_RATE), 0.0)
    pos_total = tl.sum(tl.where(same, scale * tl.load(place + 4, mask=inside_j, other=0.0), 0.0), 1)
    mean_positive = tl.sum(
        tl.where(same, scale * tl.load(place + 5, mask=inside_j, other=0.0), 0.0), 1
    )
    has_negatives, has_positives = total != 0, pos_total != 0  # NaN counts
    total = tl.where(has_negatives, total, 1.0)
    pos_total = tl.where(has_positives, pos_total, 1.0)
    mean_negative = mean_negative / total
    mean_positive = tl.where(has_positives, mean_positive / pos_total, 1.0)
    counted = has_negatives | has_positives
    before = tl.sum((same & (j < i)).to(tl.int32), 1)  # an image counts at its first row
    first = counted & (before == 0) & (tl.arange(0, BLOCK) < rows)
    images = tl.maximum(tl.sum(first.to(tl.int32)), 1)
    value, slope = surrogate(mean_negative - mean_positive + MARGIN, KIND, SMOOTHNESS, RHO)
    tl.store(loss, tl.sum(tl.where(first, value, 0.0)) / images)
    weight = tl.where(counted, slope / images, 0.0)
    row = tl.arange(0, BLOCK)
    result, kept = terms + row * 6, row < rows
    tl.store(result, largest.to(tl.float32), mask=kept)
    tl.store(result + 1, mean_negative.to(tl.float32), mask=kept)
    tl.store(result + 2, (weight / total).to(tl.float32), mask=kept)
    tl.store(result + 3, lowest.to(tl.float32), mask=kept)
    tl.store(result + 4, mean_positive.to(tl.float32), mask=kept)
    tl.store(result + 5, (weight / pos_total).to(tl.float32), mask=kept)


@triton.jit
def write_gradient(
    logits, targets, terms, image, incoming, gradient, width, blocks, POS_RATE, NEG_RATE,
    CLASSES: tl.constexpr, CLASS_INDICES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The derivative by each score, through its probability."""
    row = tl.program_id(0) // blocks
    column = (tl.program_id(0) % blocks) * BLOCK + tl.arange(0, BLOCK)
    inside = column < width
    index = row * width + column
    score = tl.load(logits + index, mask=inside, other=0).to(tl.float32)
    is_negative, is_positive = read_targets(targets, index, inside, CLASSES, CLASS_INDICES)
    own = terms + tl.load(image + row) * 6
    p = tl.sigmoid(score)
    # The mean takes part as 1 / rate less itself: q (1 + (p - mean) / lambda) for both.
    below = tl.exp((p - tl.load(own)) * NEG_RATE) * (1 + (p - tl.load(own + 1)) * NEG_RATE)
    above = tl.exp((tl.load(own + 3) - p) * POS_RATE) * ((p - tl.load(own + 4)) * POS_RATE - 1)
    result = tl.where(is_negative, below * tl.load(own + 2), 0.0)
    result = tl.where(is_positive, above * tl.load(own + 5), result)
    result = tl.where(is_negative | is_positive, result * p * (1 - p), 0.0) * tl.load(incoming)
    tl.store(gradient + index, result.to(gradient.dtype.element_ty), mask=inside)


def _grid(n: int, rows: int) -> tuple[int, int, int]:
    width = n // rows
    block = min(_MOST, max(32, triton.next_power_of_2(width)))
    return width, triton.cdiv(width, block), block


def _sum_blocks(
    logits: Tensor,
    targets: Tensor,
    rows: int,
    pos_lambda: float,
    neg_lambda: float,
    class_indices: bool,
) -> Tensor:
    """``(rows, blocks, 6)`` float32: see :func:`sum_blocks`."""
    n = logits.shape[0]
    width, blocks, block = _grid(n, rows)
    classes = n // targets.shape[0] if class_indices else 1
    sums = torch.empty(rows, blocks, _SUMS, device=logits.device)
    launch(sum_blocks, rows * blocks,
        logits, targets, sums, width, blocks, 1 / pos_lambda, 1 / neg_lambda,
        CLASSES=classes, CLASS_INDICES=class_indices, BLOCK=block,
    )  # fmt: skip
    return sums


def rank_few(
    logits: Tensor,
    targets: Tensor,
    ids: Tensor | None,
    *,
    pos_lambda: float,
    neg_lambda: float,
    kind: str,
    smoothness: float,
    rho: float,
    margin: float,
    class_indices: bool,
) -> tuple[Tensor, State]:
    """As :func:`rank`, of at most :data:`FEW_ROWS` equal parts, by kernels alone.

    Args:
        ids: integers ``(rows,)``, equal for the parts of an image; None: all are of one.
        kind, smoothness, rho, margin: of the surrogate.
    """
    rows, device = 1 if ids is None else ids.shape[0], logits.device
    sums = _sum_blocks(logits, targets, rows, pos_lambda, neg_lambda, class_indices)
    rates = 1 / pos_lambda, 1 / neg_lambda
    row_sums = torch.empty(rows, _SUMS, dtype=torch.float64, device=device)
    blocks = sums.shape[1]
    size = min(_MOST, max(32, triton.next_power_of_2(blocks)))
    launch(combine_rows, rows, sums, row_sums, blocks, *rates, BLOCK=size)
    loss = torch.empty((), dtype=torch.float64, device=device)
    terms = torch.empty(rows, _TERMS, device=device)
    launch(combine_images, 1,
        row_sums, row_sums if ids is None else ids, terms, loss, rows, smoothness, rho, margin,
        *rates, HAS_IDS=ids is not None, KIND=kind, BLOCK=max(16, triton.next_power_of_2(rows)),
    )  # fmt: skip
    return loss, State(terms, torch.arange(rows, device=device))


def rank(
    logits: Tensor,
    targets: Tensor,
    image: Tensor,
    count: int,
    *,
    pos_lambda: float,
    neg_lambda: float,
    value: Callable[[Tensor], Tensor],
    slope: Callable[[Tensor], Tensor],
    class_indices: bool,
) -> tuple[Tensor, State]:
    """The loss without tau, float64, and what :func:`gradient` needs.

    Args:
        logits: ``(n,)`` contiguous float16, bfloat16 or float32.
        targets: ``(n,)`` of 1, 0, -1, or class indices; contiguous. Other labels give NaN.
        image: ``(rows,)`` int64 in ``0..count - 1``: the image of each of ``rows`` equal parts.
        value, slope: the surrogate of the difference of expectations, and its derivative.
    """
    rows = image.shape[0]
    sums = _sum_blocks(logits, targets, rows, pos_lambda, neg_lambda, class_indices).double()

    def combine(first: int, kind: str, rate: float, start: float) -> tuple[Tensor, Tensor]:
        """The extreme of each image, and its two sums relative to that."""
        extreme = sums[..., first]
        of_rows = extreme.amax(1) if kind == 'amax' else extreme.amin(1)
        best = sums.new_full((count,), start).scatter_reduce(0, image, of_rows, kind)
        scale = (rate * (extreme - best[image][:, None])).exp()
        totals = (sums[..., first + 1 : first + 3] * scale[..., None]).sum(1)
        return best, sums.new_zeros(count, 2).index_add_(0, image, totals)

    largest, negative = combine(0, 'amax', 1 / neg_lambda, 0.0)
    lowest, positive = combine(3, 'amin', -1 / pos_lambda, 1.0)
    has_negatives, has_positives = negative[:, 0] != 0, positive[:, 0] != 0  # NaN counts
    total = torch.where(has_negatives, negative[:, 0], 1.0)
    mean_negative = negative[:, 1] / total
    pos_total = torch.where(has_positives, positive[:, 0], 1.0)
    mean_positive = torch.where(has_positives, positive[:, 1] / pos_total, 1.0)
    counted = has_negatives | has_positives
    per_image = counted.double() / counted.sum().clamp(min=1)
    z = mean_negative - mean_positive
    weight = slope(z) * per_image
    terms = torch.stack(
        [largest, mean_negative, weight / total, lowest, mean_positive, weight / pos_total], 1
    )
    loss = (torch.where(counted, value(z), 0.0) * per_image).sum()
    return loss, State(terms.float(), image)


def gradient(
    state: State,
    logits: Tensor,
    targets: Tensor,
    incoming: Tensor,
    *,
    pos_lambda: float,
    neg_lambda: float,
    class_indices: bool,
) -> Tensor:
    """``(n,)`` gradients in the dtype of ``logits``, times ``incoming``."""
    n, rows = logits.shape[0], state.image.shape[0]
    width, blocks, block = _grid(n, rows)
    classes = n // targets.shape[0] if class_indices else 1
    result = torch.empty_like(logits)
    launch(write_gradient, rows * blocks,
        logits, targets, state.terms, state.image, incoming.reshape(1).float(), result, width,
        blocks, 1 / pos_lambda, 1 / neg_lambda,
        CLASSES=classes, CLASS_INDICES=class_indices, BLOCK=block,
    )  # fmt: skip
    return result
