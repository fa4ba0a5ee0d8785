r"""The step H of the ranking losses, summed over all pairs without forming a pair.

The classes answer, for sorted positive scores ``p`` (float64, at least one),

* ``count(values)``: :math:`FP(i) = \sum_j H(v_j - p_i)`,
* ``spread(values, weights)``: :math:`F(v_j) = \sum_i w_i H(v_j - p_i)`, what the positives
  push onto each negative,
* ``positives_above(weights)``: :math:`\sum_{k \ne i} w_k H(p_k - p_i)`.

``count`` and then ``spread`` take the same buffer of values, where -inf stands for "no negative",
and turn it into F in place. A value below ``floor`` is trivial: H is 0 for all positives.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from ._search import KnotSearch

# Values that the CPU takes at a time: few enough to bound the temporaries, many enough that
# threads seldom wait for each other on a busy machine. Other devices take all at once.
_CHUNK = 1 << 20
# Fewest values that a core counts of a chunk.
_PART = 1 << 16
# Pairs that exist at a time where pairs must be formed.
_PAIRS = 1 << 22


class LinearStep:
    """H(x) = clip(x / 2 delta + 1/2, 0, 1), or the Heaviside step with H(0) = 1 for delta = 0.

    Each positive opens a ramp at the knot p - delta and closes it at p + delta. Between two of
    the 2n sorted knots every sum above is linear in v, so a negative matters only through its
    segment and its offset from the knot below. All terms are sums of parts of one sign, taken
    from the nearest knot: no large numbers cancel, whatever the scores' magnitude.
    """

    def __init__(self, positives: Tensor, delta: float, dtype: torch.dtype) -> None:
        n = positives.shape[0]
        self.per_unit = 0.5 / delta if delta > 1e-100 else 0.0
        # NaN must not meet a search; it is kept aside. Infinite scores become huge ones.
        self.poison = torch.where(positives.isnan().any(), float('nan'), 0.0)
        huge = torch.finfo(dtype).max / 4
        self.positives = positives.nan_to_num(huge).clamp(-huge, huge)
        opening, closing = self.positives - delta, self.positives + delta
        # Merge the two sorted sequences: where each knot lands, openings first among equals.
        index = torch.arange(n, device=positives.device)
        self.low = index + torch.searchsorted(closing, opening)
        self.high = index + torch.searchsorted(opening, closing, right=True)
        self.knots = positives.new_empty(2 * n)
        self.knots[self.low], self.knots[self.high] = opening, closing
        turns = torch.zeros_like(index).repeat(2)
        turns.index_fill_(0, self.low, 1).index_fill_(0, self.high, -1)
        self.is_open = turns.cumsum(0) > 0
        # Gaps where no ramp is open are left out, so that sums of widths stay small.
        gaps = self.knots.diff(append=self.knots[-1:])
        self.width = torch.where(self.is_open, gaps, 0.0)
        # What a ramp lacks to 1 once closed: rounding, or all of it when delta is 0.
        self.jump = 1 - self.per_unit * (closing - opening)
        # H(0), just as positives_above() will count it.
        half = self.per_unit * (self.positives - opening)
        self.own = torch.where(self.positives >= closing, 1.0, half)
        # Rounded up, a knot compares with every value of this dtype as the exact one does.
        rounded = self.knots.to(dtype)
        above = torch.nextafter(rounded, torch.full_like(rounded, float('inf')))
        self.rounded = torch.where(rounded < self.knots, above, rounded)
        self.floor = self.rounded[0]
        self.search = KnotSearch(self.rounded)
        self.anchors = torch.cat([self.rounded[:1], self.rounded])

    def count(self, values: Tensor) -> Tensor:
        """(n,) float64 FP. Leaves in ``values`` the offsets that :meth:`spread` reads."""
        segments = self.anchors.shape[0]
        below = torch.nextafter(self.floor, torch.full_like(self.floor, -float('inf')))
        mass = self.knots.new_zeros(segments)
        moment = self.knots.new_zeros(segments)
        self.segments = []
        for chunk in _chunks(values):
            segment = self.search(torch.clamp(chunk, below, self.rounded[-1], out=chunk))
            chunk.sub_(self.anchors.index_select(0, segment))
            for total, part in zip((mass, moment), _histograms(segment, chunk.double(), segments)):
                total += part
            self.segments.append(segment)
        # Offsets are finite: only a NaN among the values survives the multiplication.
        poison = self.poison + 0 * moment.sum()
        return self._tail_sums(mass[1:], self._from_exact_knots(mass, moment)) + poison

    def spread(self, values: Tensor, weights: Tensor) -> Tensor:
        """F of every value, written over the offsets that :meth:`count` left."""
        slope, jump = torch.zeros_like(self.knots), torch.zeros_like(self.knots)
        slope[self.low], slope[self.high] = weights, -weights
        slope = torch.where(self.is_open, cumsum(slope) * self.per_unit, 0.0)
        jump[self.high] = weights * self.jump
        rise = slope * self.width
        base = cumsum(jump)
        base[1:] += cumsum(rise)[:-1]
        base += slope * (self.rounded - self.knots)
        # Nothing reaches the values below the first knot.
        slope = torch.nn.functional.pad(slope, (1, 0)).to(values.dtype)
        base = torch.nn.functional.pad(base, (1, 0)).to(values.dtype)
        for chunk, segment in zip(_chunks(values), self.segments, strict=True):
            chunk.mul_(slope.index_select(0, segment)).add_(base.index_select(0, segment))
        return values

    def positives_above(self, weights: Tensor) -> Tensor:
        """(n,) float64, see the module."""
        below = torch.searchsorted(self.knots, self.positives, right=True) - 1
        zeros = torch.zeros_like(self.knots)
        mass = zeros.index_add(0, below, weights)
        moment = zeros.index_add(0, below, weights * (self.positives - self.knots[below]))
        return self._tail_sums(mass, moment) - self.own * weights

    def _from_exact_knots(self, mass: Tensor, moment: Tensor) -> Tensor:
        """Sums of offsets from the rounded knots, taken from the exact ones."""
        return moment[1:] + mass[1:] * (self.rounded - self.knots)

    def _tail_sums(self, mass: Tensor, moment: Tensor) -> Tensor:
        """Sum of m H(v - p_i) over points v, from the mass above each knot and its moment.

        H is the part of a ramp that lies below v, so the sum is an integral over the ramp of
        the mass above: whole widths below later points, offsets below a segment's own.
        """
        at_or_above = _reversed_cumsum(mass)
        above = torch.nn.functional.pad(at_or_above[1:], (0, 1))
        area = torch.where(self.is_open, above * self.width + moment, 0.0)
        area = _reversed_cumsum(area)
        ramps = self.per_unit * (area[self.low] - area[self.high])
        return at_or_above[self.high] * self.jump + ramps


class PairwiseStep:
    """Any H, taken over all pairs, of which only a bounded number exists at a time."""

    def __init__(
        self, positives: Tensor, function: Callable[[Tensor], Tensor], dtype: torch.dtype
    ) -> None:
        self.positives = positives
        self.function = function
        self.floor = torch.full((), -float('inf'), dtype=dtype, device=positives.device)

    def count(self, values: Tensor) -> Tensor:
        """(n,) float64 FP."""
        total = torch.zeros_like(self.positives)
        for chunk in self._chunks(values):
            total += self._steps(chunk).sum(0, dtype=torch.float64)
        return total

    def spread(self, values: Tensor, weights: Tensor) -> Tensor:
        """F of every value, in place."""
        weights = weights.to(values.dtype)
        for chunk in self._chunks(values):
            chunk.copy_(self._steps(chunk) @ weights)
        return values

    def positives_above(self, weights: Tensor) -> Tensor:
        """(n,) float64, see the module."""
        total = -weights * self.function(torch.zeros_like(weights))
        for chunk, share in zip(self._chunks(self.positives), self._chunks(weights), strict=True):
            total += share @ self._steps(chunk)
        return total

    def _steps(self, values: Tensor) -> Tensor:
        return self.function(values[:, None] - self.positives.to(values.dtype))

    def _chunks(self, values: Tensor) -> tuple[Tensor, ...]:
        return values.split(max(1, _PAIRS // self.positives.shape[0]))


class SigmoidStep(PairwiseStep):
    """H(x) = 1 / (1 + exp(-scale x))."""

    def __init__(self, positives: Tensor, scale: float, dtype: torch.dtype) -> None:
        super().__init__(positives, lambda x: x.mul_(scale).sigmoid_(), dtype)


def _chunks(values: Tensor) -> tuple[Tensor, ...]:
    return values.split(_CHUNK) if values.device.type == 'cpu' else (values,)


def _histograms(bins: Tensor, values: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Number and float64 sum of the values in each bin, without a synchronisation."""
    if bins.device.type != 'cpu':
        ones = torch.ones((), dtype=torch.int64, device=bins.device).expand(bins.shape)
        number, total = ones.new_zeros(size), values.new_zeros(size)
        return number.index_add_(0, bins, ones), total.index_add_(0, bins, values)

    def count(bins: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        return torch.bincount(bins, minlength=size), torch.bincount(bins, values, minlength=size)

    # bincount alone knows one core only. Not so many parts that starting threads would cost more.
    parts = min(torch.get_num_threads(), bins.shape[0] // _PART)
    if parts < 2:
        return count(bins, values)
    with ThreadPoolExecutor(parts) as pool:
        found = list(pool.map(count, bins.chunk(parts), values.chunk(parts)))
    numbers, totals = zip(*found)
    return torch.stack(numbers).sum(0), torch.stack(totals).sum(0)


def _reversed_cumsum(values: Tensor) -> Tensor:
    return cumsum(values.flip(0)).flip(0)


def cumsum(values: Tensor) -> Tensor:
    """Sums up to each, in an order that does not depend on timing where torch must keep one."""
    if not _must_not_depend_on_timing(values):
        return values.cumsum(0)
    # Torch refuses its own there. Sums of 2, 4, 8, ... neighbours, each in a fixed order.
    reach = 1
    while reach < values.shape[0]:
        values = torch.cat([values[:reach], values[reach:] + values[:-reach]])
        reach *= 2
    return values


def _must_not_depend_on_timing(values: Tensor) -> bool:
    return values.is_cuda and torch.are_deterministic_algorithms_enabled()
