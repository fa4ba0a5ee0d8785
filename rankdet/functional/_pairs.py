"""Sums over all pairs of two vectors, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Elementwise = Callable[[Tensor], Tensor]

_BLOCK = 1 << 22  # pairs held at once


def finite(scores: Tensor) -> Tensor:
    """Infinite scores as huge ones, whose differences are finite; NaN stays."""
    huge = torch.finfo(torch.float32).max / 4  # in float64 too: sums of many stay finite
    return scores.clamp(-huge, huge)


def sum_over_pairs(function: Elementwise, rows: Tensor, columns: Tensor) -> Tensor:
    """``(len(rows),)`` float64 sums over j of ``function(columns[j] - rows[i])``."""
    sums = [function(columns - part[:, None]).sum(1).double() for part in _blocks(rows, columns)]
    return torch.cat(sums)


def pull_back(
    slope: Elementwise, rows: Tensor, columns: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients by rows and columns of the sums over pairs, weighted by row, given their slope."""
    by_row, by_column = [], torch.zeros_like(columns)
    weights = weights.to(columns.dtype)
    start = 0
    for part in _blocks(rows, columns):
        slopes = slope(columns - part[:, None])
        by_row.append(slopes.sum(1))
        by_column += weights[start : start + len(part)] @ slopes
        start += len(part)
    return -weights * torch.cat(by_row), by_column


def _blocks(rows: Tensor, columns: Tensor) -> tuple[Tensor, ...]:
    return rows.split(max(1, _BLOCK // max(1, len(columns))))
