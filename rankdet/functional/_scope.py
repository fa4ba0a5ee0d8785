"""Who is ranked against whom: each image alone, one process's batch, or all processes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ._inputs import RankingInputs, check_choice

SCOPES = ('image', 'batch', 'global')


def check_scope(scope: str, image_ids: Tensor | None, group: object) -> None:
    """Raise unless the three arguments go together."""
    check_choice('scope', scope, SCOPES)
    if scope == 'image' and image_ids is None:
        raise ValueError("image_ids must be given for scope='image', got None")
    if group is not None and scope != 'global':
        raise ValueError(f"group is for scope='global' only, got scope={scope!r}")


def group_name(scope: str, group: object = None) -> str:
    """Name of the process group that ranks together; '' where one process ranks alone."""
    if scope != 'global' or not (dist.is_available() and dist.is_initialized()):
        return ''
    chosen: Any = dist.group.WORLD if group is None else group
    return chosen.group_name


class Processes:
    """The collectives of one ranking. Without a group they are the identity."""

    def __init__(self, name: str = '') -> None:
        # Newer releases of torch ask for a str of a type of their own.
        resolve: Any = dist.distributed_c10d._resolve_process_group
        self.group: dist.ProcessGroup | None = resolve(name) if name else None

    def gather(self, own: Tensor) -> tuple[Tensor, slice]:
        """The vectors of all processes, end to end, and where this process's lies in them."""
        if self.group is None:
            return own, slice(0, own.shape[0])
        size = torch.tensor([own.shape[0]], device=own.device)
        gathered = [torch.empty_like(size) for _ in range(self.group.size())]
        dist.all_gather(gathered, size, group=self.group)
        sizes = torch.cat(gathered).tolist()
        padded = own.new_zeros(max(sizes))
        padded[: own.shape[0]] = own
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded, group=self.group)
        start = sum(sizes[: self.group.rank()])
        everyone = torch.cat([part[:size] for part, size in zip(parts, sizes)])
        return everyone, slice(start, start + own.shape[0])

    def sum(self, own: Tensor) -> Tensor:
        """The sum over all processes."""
        if self.group is not None:
            own = own.clone()
            dist.all_reduce(own, group=self.group)
        return own


def split_images(inputs: RankingInputs) -> Iterator[tuple[RankingInputs, Tensor]]:
    """Each image that has a positive, as inputs of its own.

    Yields:
        The image's inputs, and its rows, where ``inputs.scores`` is seen as ``(rows, -1)`` with
        one row per image id.
    """
    ids, positives = inputs.image_ids, inputs.positives
    assert ids is not None  # check_scope asks for them
    stride = inputs.scores.shape[0] // max(ids.shape[0], 1)
    _, image, counts = ids.unique(return_inverse=True, return_counts=True)
    order = image.argsort(stable=True)
    starts = counts.cumsum(0) - counts
    place = torch.empty_like(order)
    place[order] = torch.arange(ids.shape[0], device=ids.device) - starts[image[order]]
    row = positives // max(stride, 1)
    image_of_positive = image[row]
    local = place[row] * stride + positives % max(stride, 1)
    rows_of_images = order.split(counts.tolist())
    for current in image_of_positive.unique().tolist():
        rows = rows_of_images[current]
        chosen = (image_of_positive == current).nonzero().squeeze(1)
        part = RankingInputs(
            inputs.scores.view(-1, stride)[rows].view(-1),
            local[chosen],
            inputs.is_negative.view(-1, stride)[rows].view(-1),
            loc_errors=inputs.loc_errors,
            members=chosen,
        )
        yield part, rows
