"""The two passes over the logits: one bins the negatives, one writes the gradients.

A negative below the first knot is trivial. It costs a comparison in each pass, no search.
"""

from __future__ import annotations

import triton
import triton.language as tl

from ._device import (
    COUNT,
    FULLEST,
    POISON,
    clamp_huge,
    number_of_cells,
    read_targets,
    segments_of,
    top_bit,
)

MOST_COPIES = tl.constexpr(8)  # 2**8 copies of the bins


@triton.jit
def packing(num_knots, room, TILE_BITS: tl.constexpr, BLOCK_BITS: tl.constexpr):
    """How bins are kept: log2 of their copies, bits of a fraction, and where the count begins.

    One 64-bit word holds the number of a bin's negatives above the sum of their offsets in fixed
    point. Integers add up to the same in any order. The more copies of the bins, the fewer
    programs meet in one, and the fewer negatives a word must hold.
    """
    power = tl.arange(0, 16)
    fits = ((num_knots.to(tl.int64) << power) <= room) & (power <= MOST_COPIES)
    copies = tl.maximum(tl.sum(fits.to(tl.int32)) - 1, 0)
    most = tl.maximum(TILE_BITS - copies, 0) + BLOCK_BITS  # negatives in a word, log2
    fraction = tl.minimum(61 - 2 * most, 30)
    return copies, fraction, most + fraction + 1


@triton.jit
def clear_bins(
    bins, numbers, room, TILE_BITS: tl.constexpr, BLOCK_BITS: tl.constexpr, BLOCK: tl.constexpr
):
    num_knots = 2 * tl.load(numbers + COUNT)
    copies, _, _ = packing(num_knots, room, TILE_BITS, BLOCK_BITS)
    used = num_knots.to(tl.int64) << copies
    begin = tl.program_id(0).to(tl.int64) * BLOCK
    if begin < used:
        index = begin + tl.arange(0, BLOCK)
        tl.store(bins + index, tl.zeros([BLOCK], tl.int64), mask=index < used)


@triton.jit
def bin_negatives(
    logits, targets, rounded, first, grid_scale, numbers, bins, n, room,
    PER_UNIT: tl.constexpr, CLASSES: tl.constexpr, CLASS_INDICES: tl.constexpr,
    CELLS: tl.constexpr, TILE_BITS: tl.constexpr, BLOCK_BITS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Count the negatives of each segment between knots, and sum their offsets."""
    num_knots = 2 * tl.load(numbers + COUNT)
    if num_knots > 0:
        index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        inside = index < n
        value = tl.load(logits + index, mask=inside, other=0).to(tl.float32)
        is_negative, _ = read_targets(targets, index, inside, CLASSES, CLASS_INDICES)
        if tl.max((is_negative & (value != value)).to(tl.int32)) > 0:
            tl.atomic_max(numbers + POISON, 1)
        lowest = tl.load(rounded)
        # False for NaN. A score that is as good as -inf lies below all, as on plain torch.
        active = is_negative & (value >= lowest)
        value = clamp_huge(value)
        if tl.max(active.to(tl.int32)) > 0:
            cells = number_of_cells(num_knots, CELLS)
            top = top_bit(tl.load(numbers + FULLEST))
            segment = segments_of(
                value, active, rounded, num_knots, first, lowest, tl.load(grid_scale), cells, top
            )
            knot = segment - 1
            offset = value - tl.load(rounded + knot, mask=active, other=0)
            copies, fraction, count_at = packing(num_knots, room, TILE_BITS, BLOCK_BITS)
            one = tl.full([BLOCK], 1, tl.int64)
            unit = (one << fraction).to(tl.float32)
            # Where no ramp is open offsets have no bound, and do not count.
            part = tl.minimum(offset * PER_UNIT, 1.0) * unit + 0.5
            word = tl.where(active, (one << count_at) + part.to(tl.int64), 0)
            copy = (tl.program_id(0) & ((1 << copies) - 1)).to(tl.int64)
            mine = bins + copy * num_knots
            # Scores crowd in the lowest segment: one addition for all of a block there.
            common = tl.min(tl.where(active, knot, 2147483647))
            is_common = active & (knot == common)
            tl.atomic_add(mine + common, tl.sum(tl.where(is_common, word, 0)), sem='relaxed')
            tl.atomic_add(mine + knot, word, mask=active & (knot != common), sem='relaxed')


@triton.jit
def collect_bins(
    bins, numbers, knots, rounded, is_open, mass, moment, width, room,
    PER_UNIT: tl.constexpr, TILE_BITS: tl.constexpr, BLOCK_BITS: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Sum the copies; lengths from here on count the width of a ramp as 1."""
    num_knots = 2 * tl.load(numbers + COUNT)
    begin = tl.program_id(0) * BLOCK
    if begin < num_knots:
        knot = begin + tl.arange(0, BLOCK)
        inside = knot < num_knots
        copies, fraction, count_at = packing(num_knots, room, TILE_BITS, BLOCK_BITS)
        one = tl.full([BLOCK], 1, tl.int64)
        low_bits = (one << count_at) - 1
        count = tl.zeros([BLOCK], tl.int64)
        parts = tl.zeros([BLOCK], tl.int64)
        for copy in range(1 << copies):
            place = bins + (copy * num_knots.to(tl.int64)) + knot
            word = tl.load(place, mask=inside, other=0)
            count += word >> count_at
            parts += word & low_bits
        here = tl.load(knots + knot, mask=inside, other=0)
        after = tl.load(knots + knot + 1, mask=knot + 1 < num_knots, other=0)
        gap = tl.load(rounded + knot, mask=inside, other=0).to(tl.float64) - here
        opened = inside & (tl.load(is_open + knot, mask=inside, other=0) != 0)
        sums = parts.to(tl.float64) / (one << fraction).to(tl.float64)
        sums += count.to(tl.float64) * gap * PER_UNIT
        tl.store(mass + knot, count, mask=inside)
        tl.store(moment + knot, tl.where(opened, sums, 0.0), mask=inside)
        tl.store(width + knot, tl.where(opened, (after - here) * PER_UNIT, 0.0), mask=inside)


@triton.jit
def write_gradient(
    logits, targets, rounded, table, first, grid_scale, numbers, pull, incoming, gradient, n,
    BY_ROW: tl.constexpr, BY_BITS: tl.constexpr, CLASSES: tl.constexpr,
    CLASS_INDICES: tl.constexpr, CELLS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """F(v) of each negative, the pull of each positive where rows name it, and 0 elsewhere.

    ``BY_BITS``: ``table`` has F of each number of 16 bits, by these; ``rounded`` its first knot.
    """
    num_knots = 2 * tl.load(numbers + COUNT)
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = index < n
    result = tl.zeros([BLOCK], tl.float32)
    if num_knots > 0:
        number = tl.load(logits + index, mask=inside, other=0)
        value = number.to(tl.float32)
        is_negative, is_positive = read_targets(targets, index, inside, CLASSES, CLASS_INDICES)
        lowest = tl.load(rounded)
        # False for NaN. A score that is as good as -inf lies below all, as on plain torch.
        active = is_negative & (value >= lowest)
        value = clamp_huge(value)
        if BY_BITS:
            bits = number.to(tl.int16, bitcast=True).to(tl.int32) & 0xFFFF
            result = tl.load(table + bits, mask=active, other=0)
        elif tl.max(active.to(tl.int32)) > 0:
            cells = number_of_cells(num_knots, CELLS)
            top = top_bit(tl.load(numbers + FULLEST))
            segment = segments_of(
                value, active, rounded, num_knots, first, lowest, tl.load(grid_scale), cells, top
            )
            knot = segment - 1
            offset = value - tl.load(rounded + knot, mask=active, other=0)
            slope = tl.load(table + 2 * knot, mask=active, other=0)
            base = tl.load(table + 2 * knot + 1, mask=active, other=0)
            result = tl.where(active, slope * offset + base, 0.0)
        if BY_ROW:
            own = tl.load(pull + index // CLASSES, mask=is_positive, other=0)
            result = tl.where(is_positive, own, result)
        # Scaled before it is narrowed: a loss scale must reach a half precision gradient whole.
        result = result * tl.load(incoming)
    tl.store(gradient + index, result.to(gradient.dtype.element_ty), mask=inside)


@triton.jit
def write_pull(positions, pull, incoming, gradient, count, BLOCK: tl.constexpr):
    """The gradients of positives whose positions are listed."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    position = tl.load(positions + i, mask=i < count, other=0)
    result = tl.load(pull + i, mask=i < count, other=0) * tl.load(incoming)
    tl.store(gradient + position, result.to(gradient.dtype.element_ty), mask=i < count)
