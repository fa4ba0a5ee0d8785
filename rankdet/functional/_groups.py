"""Sums, maxima and rankings within groups (images), without a loop over the groups."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Groups:
    """Which group each of n items belongs to.

    Items that follow each other often share their group (all anchors of an image, all classes of
    a box), so the items are seen as ``rows x width`` and only rows carry a group.

    Attributes:
        index: ``(rows,)`` int64 in ``0..count - 1``. Some groups may be empty.
        count: number of groups.
        width: number of items in a row.
    """

    index: Tensor
    count: int
    width: int

    @staticmethod
    def from_ids(ids: Tensor | None, num_items: int, device: torch.device) -> Groups:
        """Groups by integer ids of any value, one per item or one per row of items.

        None puts all items into one group.
        """
        if ids is None:
            return Groups(torch.zeros(1, dtype=torch.int64, device=device), 1, num_items)
        rows = ids.shape[0]
        if rows == 0:
            return Groups(ids.long(), 0, num_items)
        if ids.device.type == 'cpu':
            low, high = torch.stack(ids.long().aminmax()).tolist()
            if high - low < rows:
                return Groups(ids.long() - low, high - low + 1, num_items // rows)
        # No synchronisation: rows bound the number of groups, and a sort numbers the ids.
        ordered, order = ids.long().sort()
        starts = torch.ones_like(ordered)
        starts[:1].fill_(0)  # an assignment would copy the number from the host, which waits
        starts[1:] = ordered[1:] != ordered[:-1]
        index = torch.empty_like(ordered).scatter_(0, order, starts.cumsum(0))
        return Groups(index, rows, num_items // rows)

    def of(self, positions: Tensor) -> Tensor:
        """The group of the items at ``positions``."""
        return self.index[positions // max(self.width, 1)]

    def rows(self, values: Tensor) -> Tensor:
        """``(n,)`` seen as ``(rows, width)``."""
        return values.reshape(self.index.shape[0], self.width)

    def spread(self, values: Tensor) -> Tensor:
        """One value per group, as ``(rows, 1)``, to be broadcast over :meth:`rows`."""
        return values[self.index][:, None]

    def sum(self, values: Tensor) -> Tensor:
        """``(count,)`` float64 sums of ``(n,)`` values."""
        # Rows by pairwise summation; the scattered rest one by one, hence in float64.
        return self.sum_rows(self.rows(values).sum(1))

    def sum_rows(self, values: Tensor) -> Tensor:
        """``(count,)`` float64 sums of one value per row."""
        return scatter_sum(values, self.index, self.count)

    def amax(self, values: Tensor) -> Tensor:
        """``(count,)`` maxima of ``(n,)`` values, at least 0; no gradient."""
        values = values.detach()
        largest = torch.zeros(self.count, dtype=values.dtype, device=values.device)
        if values.numel() == 0:
            return largest
        return largest.scatter_reduce(0, self.index, self.rows(values).amax(1), 'amax')

    def hardest(self, values: Tensor, eligible: Tensor, quota: Tensor) -> Tensor:
        """``(n,)`` bool: the ``quota[g]`` largest eligible values of each group g.

        Among equal values the first come first, so exactly the quota is kept where there are
        enough eligible items. A quota need not be whole, it is rounded down. NaN is largest, so
        that none is hidden.
        """
        quota = quota.clamp(max=len(values)).long()  # in this order: it may be huge
        # Finite but for NaN: an eligible -inf comes before what is not eligible.
        keys = values.nan_to_num(torch.inf).masked_fill_(~eligible, -torch.inf)
        if values.numel() and int(self.index.bincount().max()) == 1:
            kept = _largest_of_rows(self.rows(keys), quota[self.index][:, None]).view(-1)
        else:
            order = keys.argsort(descending=True, stable=True)
            order = order[self.of(order).argsort(stable=True)]
            group = self.of(order)
            sizes = torch.bincount(group, minlength=self.count)
            place = torch.arange(len(order), device=order.device)
            rank = place - (sizes.cumsum(0) - sizes)[group]
            kept = torch.empty_like(eligible).scatter_(0, order, rank < quota[group])
        return kept & eligible

    def split(self, positions: Tensor) -> dict[int, Tensor]:
        """The positions of each group that has any, keyed by group."""
        group = self.of(positions)
        order = group.argsort(stable=True)
        keys, sizes = torch.unique_consecutive(group[order], return_counts=True)
        return dict(zip(keys.tolist(), positions[order].split(sizes.tolist())))


def scatter_sum(values: Tensor, index: Tensor, count: int) -> Tensor:
    """``(count,)`` float64 sums of values by index."""
    sums = torch.zeros(count, dtype=torch.float64, device=values.device)
    return sums.index_add(0, index, values.double())


def _largest_of_rows(keys: Tensor, quota: Tensor) -> Tensor:
    """``(rows, width)`` bool: the ``quota`` ``(rows, 1)`` largest keys of each row, by one topk."""
    quota = quota.clamp(max=keys.shape[1])
    largest = keys.topk(max(1, int(quota.max())), dim=1).values
    last = largest.gather(1, (quota - 1).clamp(min=0))
    above, equal = keys > last, keys == last
    room = quota - above.sum(1, keepdim=True)
    return (above | (equal & (equal.cumsum(1) <= room))) & (quota > 0)
