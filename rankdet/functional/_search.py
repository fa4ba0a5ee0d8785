"""Counting, for millions of values, how many of a few sorted knots lie at or below each."""

from __future__ import annotations

import torch
from torch import Tensor


class KnotSearch:
    """``count(v) = #{knots <= v}``, exact, for sorted finite ``knots``.

    On the CPU a grid over the knots' range narrows each search to one cell; what is left is a
    binary search without branches, as deep as the fullest cell asks for. This is several times
    faster than :func:`torch.bucketize`, which other devices use.
    """

    def __init__(self, knots: Tensor) -> None:
        self.knots = knots
        self.on_grid = knots.device.type == 'cpu'
        if self.on_grid:
            self._build_grid()

    def __call__(self, values: Tensor) -> Tensor:
        """int32 counts of ``values``, which must not lie above the last knot."""
        if not self.on_grid:
            return torch.bucketize(values, self.knots, out_int32=True, right=True)
        count = self.first.index_select(0, self._cell(values))
        for half in self.halves:
            is_above = self.padded[half - 1 :].index_select(0, count) <= values
            count.add_(is_above, alpha=half)
        return count

    def _build_grid(self) -> None:
        knots = self.knots
        cells = min(max(8 * knots.shape[0], 1 << 10), 1 << 16)
        self.low = knots[0]
        # Any monotone map to cells is exact: knots in other cells compare as their cells do.
        self.per_unit = (cells - 1) / (knots[-1] - knots[0]).clamp(min=1e-30)
        occupancy = torch.bincount(self._cell(knots), minlength=cells)
        self.first = (occupancy.cumsum(0) - occupancy).int()
        depth = int(occupancy.max()).bit_length()
        self.halves = [1 << level for level in reversed(range(depth))]
        self.padded = torch.cat([knots, knots.new_full((1 << depth,), float('inf'))])

    def _cell(self, values: Tensor) -> Tensor:
        # The clamp serves values below the first knot and NaN, whose cast is anything negative.
        return values.sub(self.low).mul_(self.per_unit).int().clamp_(min=0)
