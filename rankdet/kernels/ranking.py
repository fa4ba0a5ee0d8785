"""AP, AUC and aLRP Loss from the kernels: what is launched, and the memory that it needs.

Nothing here asks the device for a number. The number of positives stays there; what depends on
it is allocated for as many as there can be.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import triton
from torch import Tensor

from . import negatives, positives
from ._device import NUMBERS, POISON, launch

POISON_AT = POISON.value
RULES = ('ap', 'interpolated_ap', 'auc', 'alrp')

# Sizes of blocks. The passes move few bytes a thread and many at a time; a scan is one program.
_PASS = 1024
_SORT = 32
_SMALL = 128
_SCAN = 1024
_CLEAR = 4096
_TABULATE = 2048
# Numbers that 16 bits may mean.
HALVES = 1 << 16
# Cells of the grid over the knots, at most: 256 KiB.
_MOST_CELLS = 1 << 16
# Words of bins, at most, beyond what the positives ask for: 32 MiB.
_MOST_BINS = 1 << 22
# A step narrower than this is taken as this steep: its slope must be finite in float32.
_STEEPEST = 1e38


class Positives(NamedTuple):
    """The positives that rank, for at most K of them.

    Attributes:
        scores: ``(K,)`` float32.
        slots: ``(K,)`` int32, where each positive's own gradient is kept; -1 for those of other
            processes.
        num_slots: how many such places there are.
        numbers: the small integers that stay on the device, their count among them.
        errors: None, or ``(K,)`` float32 localisation errors.
        error_places: None, or ``(K,)`` int64 places of the errors in what the user gave; any
            beyond the count.
    """

    scores: Tensor
    slots: Tensor
    num_slots: int
    numbers: Tensor
    errors: Tensor | None = None
    error_places: Tensor | None = None


class Ordered(NamedTuple):
    """The positives by ascending score, all ``(K,)``.

    Attributes:
        order: int32 places in :class:`Positives`.
        scores: float32, finite.
        above: float64 sums of the step over the other positives.
        errors_above: the same of the errors; of anything where there are none.
    """

    order: Tensor
    scores: Tensor
    above: Tensor
    errors_above: Tensor


class State(NamedTuple):
    """What the second pass needs: tensors only, so that it can be saved for backward.

    There are 65,536 half precision numbers, so for such logits ``table`` holds F of each of them
    by its bits, ``rounded`` the first knot alone, and ``first`` nothing.
    """

    rounded: Tensor
    table: Tensor
    first: Tensor
    grid_scale: Tensor
    numbers: Tensor
    pull: Tensor


class Ranked(NamedTuple):
    """Attributes:
    value: float64 ``(1,)``.
    weights: float64 ``(K,)``, d value of the localisation part by each error; None without.
    state: for :func:`gradient`.
    """

    value: Tensor
    weights: Tensor | None
    state: State


def number_of_cells(capacity: int) -> int:
    """Size of the grid's table for so many positives."""
    return min(_MOST_CELLS, max(1024, triton.next_power_of_2(16 * capacity)))


def find_positives(
    logits: Tensor, labels: Tensor, errors: Tensor | None = None, *, by_row: bool = True
) -> Positives:
    """Those of class indices, ``logits`` ``(n,)`` and ``labels`` ``(rows,)``; K is ``rows``.

    A label out of range makes the loss NaN: refusing it would have to wait for the device.

    Args:
        errors: localisation errors, one a row or (``by_row=False``) one a score.
    """
    rows, device = labels.shape[0], logits.device
    classes = logits.shape[0] // rows
    is_positive = (labels >= 0) & (labels.long() < classes)
    places = is_positive.cumsum(0, dtype=torch.int32)
    numbers = torch.zeros(NUMBERS, dtype=torch.int32, device=device)
    scores = torch.empty(rows, device=device)
    slots = torch.empty(rows, dtype=torch.int32, device=device)
    kind, own_errors, error_places = '', scores, places
    if errors is not None:
        kind = 'row' if by_row else 'score'
        own_errors = torch.zeros(rows, device=device)
        # Beyond the positives weights of 0 will be added there: all to one place would queue.
        error_places = torch.arange(rows, device=device)
    launch(positives.find_in_rows, triton.cdiv(rows, _PASS),
        logits, labels, places, errors if kind else scores, numbers, scores, slots, own_errors,
        error_places, rows, CLASSES=classes, ERRORS=kind, BLOCK=_PASS,
    )  # fmt: skip
    if errors is None:
        return Positives(scores, slots, rows, numbers)
    return Positives(scores, slots, rows, numbers, own_errors, error_places)


def given_positives(scores: Tensor, own: slice, errors: Tensor | None = None) -> Positives:
    """Those whose number the host knows, those of this process in ``own``."""
    count, device = scores.shape[0], scores.device
    slots = torch.full((max(count, 1),), -1, dtype=torch.int32, device=device)
    num_slots = own.stop - own.start
    slots[own] = torch.arange(num_slots, dtype=torch.int32, device=device)
    numbers = torch.zeros(NUMBERS, dtype=torch.int32, device=device)
    numbers[:1].fill_(count)
    if not count:
        scores = scores.new_zeros(1)
    if errors is not None:
        errors = errors.float() if count else scores
    return Positives(scores.float(), slots, num_slots, numbers, errors)


def sort(found: Positives, *, delta: float) -> Ordered:
    """By comparing all pairs, for thousands of positives whose number is not known here."""
    scores, errors = found.scores, found.errors
    result = Ordered(
        torch.empty_like(found.slots),
        torch.empty_like(scores),
        torch.empty_like(scores, dtype=torch.float64),
        torch.empty_like(scores, dtype=torch.float64),
    )
    launch(
        positives.sort, triton.cdiv(scores.shape[0], _SORT), scores,
        scores if errors is None else errors, found.numbers, *result,
        DELTA=delta, PER_UNIT=_per_unit(delta), HAS_ERRORS=errors is not None,
        BLOCK=_SORT, OTHERS=_SMALL,
    )  # fmt: skip
    return result


def _per_unit(delta: float) -> float:
    """The slope of the step; 0 for the hard one."""
    return min(0.5 / delta, _STEEPEST) if delta > 1e-100 else 0.0


def rank(
    found: Positives,
    logits: Tensor,
    targets: Tensor,
    *,
    rule: str,
    delta: float,
    class_indices: bool,
    num_negatives: Tensor | None = None,
    total: Callable[[Tensor], Tensor] | None = None,
    ordered: Ordered | None = None,
) -> Ranked:
    """The loss, and all that its gradients need.

    Args:
        logits: ``(n,)`` contiguous float16, bfloat16 or float32.
        targets: ``(n,)`` of 1, 0, -1, or class indices ``(rows,)``; contiguous.
        rule: one of ``RULES``.
        num_negatives: |N|, a tensor of one element; for 'auc'.
        total: sums a tensor over the processes that rank together.
        ordered: what :func:`sort` would find, where there is a better way to it.
    """
    device = logits.device
    capacity, n = found.scores.shape[0], logits.shape[0]
    per_unit, numbers = _per_unit(delta), found.numbers
    by_positive, by_knot = (triton.cdiv(k, _SMALL) for k in (capacity, 2 * capacity))

    def new(size: int, dtype: torch.dtype) -> Tensor:
        return torch.empty(size, dtype=dtype, device=device)

    int32, float64 = torch.int32, torch.float64
    ordered = sort(found, delta=delta) if ordered is None else ordered
    order, scores, above, errors_above = ordered
    low, high = new(capacity, int32), new(capacity, int32)
    knots, rounded = new(2 * capacity, float64), new(2 * capacity, torch.float32)
    is_open = new(2 * capacity, torch.int8)
    launch(
        positives.make_knots,
        by_positive,
        scores,
        numbers,
        low,
        high,
        knots,
        rounded,
        is_open,
        DELTA=delta,
        BLOCK=_SMALL,
    )
    cells = number_of_cells(capacity)
    first, grid_scale = new(cells, int32), new(1, torch.float32)
    launch(
        positives.index_knots,
        cells // _PASS,
        rounded,
        numbers,
        first,
        grid_scale,
        CELLS=cells,
        BLOCK=_PASS,
    )

    room = max(4 * capacity, min(_MOST_BINS, n * logits.element_size() // 32))
    tiles = triton.cdiv(n, _PASS)
    bits = dict(TILE_BITS=max(tiles - 1, 0).bit_length(), BLOCK_BITS=_PASS.bit_length() - 1)
    bins = new(room, torch.int64)
    launch(
        negatives.clear_bins, triton.cdiv(room, _CLEAR), bins, numbers, room, **bits, BLOCK=_CLEAR
    )
    classes = n // targets.shape[0] if class_indices and n else 1
    if n:
        launch(negatives.bin_negatives, tiles,
            logits, targets, rounded, first, grid_scale, numbers, bins, n, room,
            PER_UNIT=per_unit, CLASSES=classes, CLASS_INDICES=class_indices, CELLS=cells, **bits,
            BLOCK=_PASS,
        )  # fmt: skip
    mass = new(2 * capacity, torch.int64)
    moment, width = new(2 * capacity, float64), new(2 * capacity, float64)
    launch(negatives.collect_bins, by_knot,
        bins, numbers, knots, rounded, is_open, mass, moment, width, room,
        PER_UNIT=per_unit, **bits, BLOCK=_SMALL,
    )  # fmt: skip
    del bins
    at_or_above, area = new(2 * capacity, torch.int64), new(2 * capacity, float64)
    launch(
        positives.sum_from_above, 1, mass, moment, width, numbers, at_or_above, area, BLOCK=_SCAN
    )
    false_positives = torch.zeros(capacity, dtype=float64, device=device)
    launch(positives.count_false_positives, by_positive,
        scores, low, high, at_or_above, area, numbers, false_positives,
        DELTA=delta, PER_UNIT=per_unit, BLOCK=_SMALL,
    )  # fmt: skip
    del mass, at_or_above
    if total is not None:
        false_positives = total(false_positives)

    value = new(1, float64)
    turns, leaps = moment, area  # read already, and of the right size
    pull = new(max(found.num_slots, 1), torch.float32)
    with_errors = rule == 'alrp'
    loc_sums = new(capacity, float64) if with_errors else above
    launch(positives.apply_rule, 1,
        false_positives, above, errors_above, scores, low, high, order, found.slots,
        numbers, above if num_negatives is None else num_negatives, value, turns, leaps, pull,
        loc_sums, RULE=rule, DELTA=delta, PER_UNIT=per_unit, BLOCK=_SCAN,
    )  # fmt: skip
    weights = None
    if with_errors:
        weights = torch.zeros(capacity, dtype=float64, device=device)
        launch(
            positives.weigh_errors,
            by_positive,
            loc_sums,
            scores,
            order,
            numbers,
            weights,
            BLOCK=_SMALL,
        )
    table = new(4 * capacity, torch.float32)
    launch(positives.make_table, 1,
        turns, leaps, knots, rounded, width, is_open, numbers, table,
        PER_UNIT=per_unit, BLOCK=_SCAN,
    )  # fmt: skip
    state = State(rounded, table, first, grid_scale, numbers, pull)
    return Ranked(
        value, weights, _by_bits(state, logits.dtype) if logits.element_size() == 2 else state
    )


def _by_bits(state: State, dtype: torch.dtype) -> State:
    """What the second pass writes for each number of a half precision dtype, as a table."""
    device = state.table.device
    every = torch.arange(HALVES, dtype=torch.int32, device=device).to(torch.int16).view(dtype)
    table = torch.empty(HALVES, device=device)
    rounded, _, first, *_ = state
    launch(negatives.write_gradient, HALVES // _TABULATE,
        every, torch.zeros(HALVES, dtype=torch.int8, device=device), *state,
        torch.ones(1, device=device), table, HALVES,
        BY_ROW=False, BY_BITS=False, CLASSES=1, CLASS_INDICES=False, CELLS=first.shape[0],
        BLOCK=_TABULATE,
    )  # fmt: skip
    return state._replace(rounded=rounded[:1].clone(), table=table, first=first.new_empty(0))


def gradient(
    state: State,
    logits: Tensor,
    targets: Tensor,
    incoming: Tensor,
    *,
    class_indices: bool,
    positions: Tensor | None = None,
) -> Tensor:
    """``(n,)`` gradients in the dtype of ``logits``, times ``incoming``.

    Args:
        positions: of the positives of this process; None where they are those of the rows.
    """
    n = logits.shape[0]
    result = torch.empty_like(logits)
    if not n:
        return result
    incoming = incoming.reshape(1).float()
    classes = n // targets.shape[0] if class_indices and n else 1
    rounded, table, first, grid_scale, numbers, pull = state
    launch(negatives.write_gradient, triton.cdiv(n, _PASS),
        logits, targets, rounded, table, first, grid_scale, numbers, pull, incoming, result, n,
        BY_ROW=positions is None, BY_BITS=logits.element_size() == 2, CLASSES=classes,
        CLASS_INDICES=class_indices, CELLS=first.shape[0], BLOCK=_PASS,
    )  # fmt: skip
    if positions is not None and positions.shape[0]:
        count = positions.shape[0]
        launch(
            negatives.write_pull,
            triton.cdiv(count, _PASS),
            positions,
            pull,
            incoming,
            result,
            count,
            BLOCK=_PASS,
        )
    return result
