"""DR Loss by kernels: one pass for both softmaxes of every image, one for the gradients.

An image's distributions need its largest negative and its sums at once. Each block takes sums
relative to its own largest score; few numbers a block are then put together, image by image. No
positive is looked up, none is counted, and no addition depends on timing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from ._device import launch, read_targets

_MOST = 1024  # scores a block
_SUMS = 6  # numbers a block
_TERMS = 6  # numbers an image


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
    n, rows = logits.shape[0], image.shape[0]
    width, blocks, block = _grid(n, rows)
    classes = n // targets.shape[0] if class_indices else 1
    sums = torch.empty(rows * blocks, _SUMS, device=logits.device)
    launch(sum_blocks, rows * blocks,
        logits, targets, sums, width, blocks, 1 / pos_lambda, 1 / neg_lambda,
        CLASSES=classes, CLASS_INDICES=class_indices, BLOCK=block,
    )  # fmt: skip
    sums = sums.view(rows, blocks, _SUMS).double()

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
