"""Kernels on the positives alone: found, sorted, made into knots, given their loss.

Their number P stays on the device, so each kernel is launched for as many as there can be, and
programs beyond P end at once. All scans run in one program, in an order that never changes.
"""

from __future__ import annotations

import triton
import triton.language as tl

from ._device import (
    COUNT,
    FULLEST,
    POISON,
    cell_of,
    clamp_huge,
    number_of_cells,
    round_up,
    top_bit,
)


@triton.jit
def find_in_rows(
    logits, labels, places, errors, numbers, scores, slots, own_errors, error_places, rows,
    CLASSES: tl.constexpr, ERRORS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The positives of class indices, in order; ``places`` counts those up to each row.

    ``ERRORS``: '' for none, 'row' or 'score': what ``errors`` has one entry for.
    """
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = row < rows
    label = tl.load(labels + row, mask=inside, other=-1).to(tl.int64)
    # Unsigned labels have no -1: a row beyond the last one would read as 255.
    is_positive = inside & (label >= 0) & (label < CLASSES)
    count = tl.load(places + row, mask=inside, other=0)
    tl.store(numbers + COUNT + row * 0, count, mask=row == rows - 1)
    strange = inside & ((label < -1) | (label > CLASSES))
    if tl.max(strange.to(tl.int32)) > 0:
        tl.atomic_max(numbers + POISON, 1)
    k = count - 1
    index = row.to(tl.int64) * CLASSES + label
    score = tl.load(logits + index, mask=is_positive, other=0)
    tl.store(scores + k, score.to(tl.float32), mask=is_positive)
    tl.store(slots + k, row, mask=is_positive)
    if ERRORS != '':
        place = row.to(tl.int64) if ERRORS == 'row' else index
        error = tl.load(errors + place, mask=is_positive, other=0)
        tl.store(own_errors + k, error.to(tl.float32), mask=is_positive)
        tl.store(error_places + k, place, mask=is_positive)


@triton.jit
def sort(
    scores, errors, numbers, order, sorted_scores, above, errors_above,
    DELTA: tl.constexpr, PER_UNIT: tl.constexpr, HAS_ERRORS: tl.constexpr,
    BLOCK: tl.constexpr, OTHERS: tl.constexpr,
):  # fmt: skip
    """Place each positive among the others and sum the step over them, pair by pair.

    P^2 pairs cost less than one pass over the logits as long as P is in the thousands, need no
    sort of everything that might be a positive, and give sums that do not depend on timing.
    """
    count = tl.load(numbers + COUNT)
    begin = tl.program_id(0) * BLOCK
    if begin < count:
        i = begin + tl.arange(0, BLOCK)
        mine = tl.load(scores + i, mask=i < count, other=0)
        if tl.max((mine != mine).to(tl.int32)) > 0:
            tl.atomic_max(numbers + POISON, 1)
        mine = clamp_huge(tl.where(mine != mine, float('inf'), mine))
        # H(0) of positives with the same score, just as it will be counted for negatives.
        opening, closing = mine.to(tl.float64) - DELTA, mine.to(tl.float64) + DELTA
        tied = tl.where(closing > opening, (mine.to(tl.float64) - opening) * PER_UNIT, 1.0)
        tied = tied.to(tl.float32)
        place = tl.zeros([BLOCK], tl.int32)
        total = tl.zeros([BLOCK], tl.float64)
        error_total = tl.zeros([BLOCK], tl.float64)
        for start in range(0, count, OTHERS):
            k = start + tl.arange(0, OTHERS)
            other = tl.load(scores + k, mask=k < count, other=0)
            other = clamp_huge(tl.where(other != other, float('inf'), other))
            x = other[None, :] - mine[:, None]
            is_other = (k[None, :] != i[:, None]) & (k < count)[None, :]
            is_below = (x < 0) | ((x == 0) & (k[None, :] < i[:, None]))
            place += tl.sum((is_below & is_other).to(tl.int32), 1)
            if PER_UNIT > 0:
                h = tl.minimum(tl.maximum(x * PER_UNIT + 0.5, 0.0), 1.0)
            else:
                h = (x > 0).to(tl.float32)
            h = tl.where(x == 0, tied[:, None], h)
            h = tl.where(is_other, h, 0.0)
            total += tl.sum(h, 1).to(tl.float64)
            if HAS_ERRORS:
                error = tl.load(errors + k, mask=k < count, other=0)
                # Selected, not multiplied: an infinite error counts where the step is above 0.
                share = tl.where(h > 0, h * error[None, :], 0.0)
                error_total += tl.sum(share, 1).to(tl.float64)
        tl.store(order + place, i, mask=i < count)
        tl.store(sorted_scores + place, mine, mask=i < count)
        tl.store(above + place, total, mask=i < count)
        if HAS_ERRORS:
            tl.store(errors_above + place, error_total, mask=i < count)


@triton.jit
def make_knots(
    sorted_scores, numbers, low, high, knots, rounded, is_open,
    DELTA: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Merge where each positive's ramp opens with where each closes, openings first."""
    count = tl.load(numbers + COUNT)
    begin = tl.program_id(0) * BLOCK
    if begin < count:
        i = begin + tl.arange(0, BLOCK)
        inside = i < count
        score = tl.load(sorted_scores + i, mask=inside, other=0).to(tl.float64)
        opening, closing = score - DELTA, score + DELTA
        closed_before = tl.zeros([BLOCK], tl.int32)
        opened_before = tl.zeros([BLOCK], tl.int32)
        half = top_bit(count)
        while half > 0:
            probe = closed_before + (half - 1)
            valid = inside & (probe < count)
            other = tl.load(sorted_scores + probe, mask=valid, other=0).to(tl.float64)
            closed_before += tl.where(valid & (other + DELTA < opening), half, 0)
            probe = opened_before + (half - 1)
            valid = inside & (probe < count)
            other = tl.load(sorted_scores + probe, mask=valid, other=0).to(tl.float64)
            opened_before += tl.where(valid & (other - DELTA <= closing), half, 0)
            half = half // 2
        at_opening, at_closing = i + closed_before, i + opened_before
        tl.store(low + i, at_opening, mask=inside)
        tl.store(high + i, at_closing, mask=inside)
        tl.store(knots + at_opening, opening, mask=inside)
        tl.store(knots + at_closing, closing, mask=inside)
        tl.store(rounded + at_opening, round_up(opening), mask=inside)
        tl.store(rounded + at_closing, round_up(closing), mask=inside)
        # Ramps open right after a knot: opened so far, less closed so far.
        tl.store(is_open + at_opening, (2 * i + 1 - at_opening > 0).to(tl.int8), mask=inside)
        tl.store(is_open + at_closing, (at_closing - 2 * i - 1 > 0).to(tl.int8), mask=inside)


@triton.jit
def index_knots(rounded, numbers, first, per_unit, CELLS: tl.constexpr, BLOCK: tl.constexpr):
    """A grid that narrows each search: how many knots lie in the cells below each."""
    num_knots = 2 * tl.load(numbers + COUNT)
    cells = number_of_cells(num_knots, CELLS)
    begin = tl.program_id(0) * BLOCK
    if (num_knots > 0) & (begin < cells):
        lowest = tl.load(rounded)
        span = tl.maximum(tl.load(rounded + num_knots - 1) - lowest, 1e-30)
        scale = (cells.to(tl.float32) - 1) / span
        if begin == 0:
            tl.store(per_unit, scale)
        cell = begin + tl.arange(0, BLOCK)
        below = tl.zeros([BLOCK], tl.int32)
        up_to = tl.zeros([BLOCK], tl.int32)
        half = top_bit(num_knots)
        while half > 0:
            probe = below + (half - 1)
            valid = probe < num_knots
            knot = tl.load(rounded + probe, mask=valid, other=0)
            is_below = cell_of(knot, lowest, scale, cells) < cell
            below += tl.where(valid & is_below, half, 0)
            probe = up_to + (half - 1)
            valid = probe < num_knots
            knot = tl.load(rounded + probe, mask=valid, other=0)
            is_up_to = cell_of(knot, lowest, scale, cells) <= cell
            up_to += tl.where(valid & is_up_to, half, 0)
            half = half // 2
        tl.store(first + cell, below, mask=cell < cells)
        tl.atomic_max(numbers + FULLEST, tl.max(tl.where(cell < cells, up_to - below, 0)))


@triton.jit
def sum_from_above(mass, moment, width, numbers, at_or_above, area, BLOCK: tl.constexpr):
    """Suffix sums over the knots: of the negatives, and of the area that lies below them."""
    num_knots = 2 * tl.load(numbers + COUNT)
    so_far = tl.zeros([1], tl.int64)
    area_so_far = tl.zeros([1], tl.float64)
    for start in range(0, num_knots, BLOCK):
        knot = num_knots - 1 - start - tl.arange(0, BLOCK)
        inside = knot >= 0
        own = tl.load(mass + knot, mask=inside, other=0)
        sums = tl.cumsum(own, 0) + so_far
        part = (sums - own).to(tl.float64) * tl.load(width + knot, mask=inside, other=0.0)
        part += tl.load(moment + knot, mask=inside, other=0.0)
        tl.store(at_or_above + knot, sums, mask=inside)
        tl.store(area + knot, tl.cumsum(part, 0) + area_so_far, mask=inside)
        so_far += tl.sum(own)
        area_so_far += tl.sum(part)


@triton.jit
def count_false_positives(
    sorted_scores, low, high, at_or_above, area, numbers, false_positives,
    DELTA: tl.constexpr, PER_UNIT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """FP(i): the negatives beyond the ramp, and their parts within it."""
    count = tl.load(numbers + COUNT)
    begin = tl.program_id(0) * BLOCK
    if begin < count:
        i = begin + tl.arange(0, BLOCK)
        inside = i < count
        score = tl.load(sorted_scores + i, mask=inside, other=0).to(tl.float64)
        jump = 1 - PER_UNIT * ((score + DELTA) - (score - DELTA))
        at_low = tl.load(low + i, mask=inside, other=0)
        at_high = tl.load(high + i, mask=inside, other=0)
        beyond = tl.load(at_or_above + at_high, mask=inside, other=0).to(tl.float64)
        ramp = tl.load(area + at_low, mask=inside, other=0)
        ramp -= tl.load(area + at_high, mask=inside, other=0)
        poison = tl.where(tl.load(numbers + POISON) > 0, float('nan'), 0.0)
        tl.store(false_positives + i, beyond * jump + ramp + poison, mask=inside)


@triton.jit
def smaller(a, b):
    return tl.minimum(a, b)


@triton.jit
def apply_rule(
    false_positives, above, errors_above, sorted_scores, low, high, order, slots, numbers,
    num_negatives, value, turns, leaps, pull, loc_sums,
    RULE: tl.constexpr, DELTA: tl.constexpr, PER_UNIT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The loss of each positive; what it sends to the negatives, as changes at its two knots."""
    count = tl.load(numbers + COUNT)
    scale = 1.0 / tl.maximum(count, 1).to(tl.float64)
    loss_sum = tl.zeros([1], tl.float64)
    loc_sum = tl.zeros([1], tl.float64)
    lowest = tl.full([1], float('inf'), tl.float64)
    for start in range(0, count, BLOCK):
        i = start + tl.arange(0, BLOCK)
        inside = i < count
        fp = tl.load(false_positives + i, mask=inside, other=0)
        rank = 1 + tl.load(above + i, mask=inside, other=0) + fp
        if RULE == 'auc':
            loss = fp / tl.maximum(tl.load(num_negatives), 1)
        else:
            loss = fp / rank
        if RULE == 'interpolated_ap':
            # Algorithm 1 lets precision only grow from the lowest positive up.
            error = tl.associative_scan(tl.where(inside, loss, float('inf')), 0, smaller)
            error = tl.minimum(error, lowest)
            lowest = tl.minimum(lowest, tl.min(error))
            loss = error + (fp - fp)  # NaN, which a minimum may hide
        update = loss
        if RULE == 'alrp':
            gap = (fp + tl.load(errors_above + i, mask=inside, other=0)) / rank
            update = tl.where(fp <= 1e-5, 0.0, gap)
            reciprocal = tl.where(inside, 1 / rank, 0.0)
            tl.store(loc_sums + i, (tl.cumsum(reciprocal, 0) + loc_sum) * scale, mask=inside)
            loc_sum += tl.sum(reciprocal)
        loss_sum += tl.sum(tl.where(inside, loss, 0.0))
        each = tl.where(fp == 0, 0.0, update * scale / fp)
        score = tl.load(sorted_scores + i, mask=inside, other=0).to(tl.float64)
        jump = 1 - PER_UNIT * ((score + DELTA) - (score - DELTA))
        at_low = tl.load(low + i, mask=inside, other=0)
        at_high = tl.load(high + i, mask=inside, other=0)
        tl.store(turns + at_low, each, mask=inside)
        tl.store(turns + at_high, -each, mask=inside)
        tl.store(leaps + at_low, each * 0, mask=inside)
        tl.store(leaps + at_high, each * jump, mask=inside)
        slot = tl.load(slots + tl.load(order + i, mask=inside, other=0), mask=inside, other=-1)
        tl.store(pull + slot, (-each * fp).to(tl.float32), mask=inside & (slot >= 0))
    tl.store(value + tl.arange(0, 1), loss_sum * scale)


@triton.jit
def weigh_errors(loc_sums, sorted_scores, order, numbers, weights, BLOCK: tl.constexpr):
    """The factor of each positive's own error: 1 / rank(i) summed over all at or below it."""
    count = tl.load(numbers + COUNT)
    begin = tl.program_id(0) * BLOCK
    if begin < count:
        i = begin + tl.arange(0, BLOCK)
        inside = i < count
        score = tl.load(sorted_scores + i, mask=inside, other=0)
        up_to = tl.zeros([BLOCK], tl.int32)
        half = top_bit(count)
        while half > 0:
            probe = up_to + (half - 1)
            valid = inside & (probe < count)
            other = tl.load(sorted_scores + probe, mask=valid, other=0)
            up_to += tl.where(valid & (other <= score), half, 0)
            half = half // 2
        weight = tl.load(loc_sums + up_to - 1, mask=inside, other=0)
        tl.store(weights + tl.load(order + i, mask=inside, other=0), weight, mask=inside)


@triton.jit
def make_table(
    turns, leaps, knots, rounded, width, is_open, numbers, table,
    PER_UNIT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """F(v) in each segment: its slope, and its value where the segment begins."""
    num_knots = 2 * tl.load(numbers + COUNT)
    slope_so_far = tl.zeros([1], tl.float64)
    base_so_far = tl.zeros([1], tl.float64)
    for start in range(0, num_knots, BLOCK):
        knot = start + tl.arange(0, BLOCK)
        inside = knot < num_knots
        turn = tl.load(turns + knot, mask=inside, other=0)
        opened = tl.load(is_open + knot, mask=inside, other=0) != 0
        slope = tl.where(opened, tl.cumsum(turn, 0) + slope_so_far, 0.0)
        leap = tl.load(leaps + knot, mask=inside, other=0)
        rise = slope * tl.load(width + knot, mask=inside, other=0)
        gap = tl.load(rounded + knot, mask=inside, other=0).to(tl.float64)
        gap -= tl.load(knots + knot, mask=inside, other=0)
        base = base_so_far + tl.cumsum(leap + rise, 0) - rise + slope * PER_UNIT * gap
        tl.store(table + 2 * knot, (slope * PER_UNIT).to(tl.float32), mask=inside)
        tl.store(table + 2 * knot + 1, base.to(tl.float32), mask=inside)
        slope_so_far += tl.sum(turn)
        base_so_far += tl.sum(leap + rise)
