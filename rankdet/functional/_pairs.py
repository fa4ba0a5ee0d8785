"""Sums over pairs in bounded memory."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

_BLOCK = 1 << 22  # pairs held at once


def sum_over_pairs(function: Callable[[Tensor], Tensor], rows: Tensor, columns: Tensor) -> Tensor:
    """``(len(rows),)`` sums over j of ``function(columns[j] - rows[i])``, by ordinary autograd.

    No matrix of all pairs: blocks of rows are summed one after the other, and computed once more
    in the backward pass instead of being kept for it.
    """

    def block(part: Tensor, columns: Tensor) -> Tensor:
        return function(columns - part[:, None]).sum(1)

    size = max(1, _BLOCK // max(1, len(columns)))
    if len(rows) <= size:
        return block(rows, columns)
    sums = [
        checkpoint(block, part, columns, use_reentrant=False, preserve_rng_state=False)
        for part in rows.split(size)
    ]
    return torch.cat(sums)
