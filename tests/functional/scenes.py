"""Small batches of scores that a loss meets in training, at its edges, or never should."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Scene(NamedTuple):
    scores: Tensor
    targets: Tensor
    errors: Tensor


def make_scene(name: str, rows: int = 12, columns: int = 5) -> Scene:
    """float64 scores, targets 1, 0, -1, and localisation errors in their shape."""
    generator = torch.Generator().manual_seed(sum(map(ord, name)))
    shape = (rows, columns)
    scores = torch.randn(shape, generator=generator, dtype=torch.float64)
    targets = torch.randint(0, 8, shape, generator=generator)
    targets = torch.where(targets == 0, 1, torch.where(targets == 1, -1, 0))
    targets[0, 0], targets[0, 1] = 1, 0
    errors = torch.rand(shape, generator=generator, dtype=torch.float64)
    positive = targets == 1
    if name == 'ties':
        scores = (scores * 2).round() / 2
    elif name == 'all_equal':
        scores = torch.full_like(scores, -4.59511985)
    elif name == 'huge':
        scores = (scores * 1e4).clamp(-1e4, 1e4)
    elif name == 'far_and_close':
        scores += 1e4 * torch.randint(-1, 2, shape, generator=generator)
    elif name == 'one_positive':
        targets = targets.clamp(max=0)
        targets[1, 3] = 1
    elif name == 'many_positives':
        targets = targets.abs()
        targets[1::2] = 1
    elif name == 'trained':
        scores += 4 * positive
    elif name == 'perfect':
        scores += 100 * positive
    elif name == 'worst':
        scores -= 100 * positive
    elif name == 'no_positives':
        targets = targets.clamp(max=0)
    elif name == 'no_negatives':
        targets[targets == 0] = -1
    elif name == 'all_ignored':
        targets = torch.full_like(targets, -1)
    elif name != 'random':
        raise ValueError(name)
    # Values that float32 holds exactly: one oracle serves both dtypes.
    return Scene(scores.float().double(), targets, errors.float().double())


SCENES = ('random', 'ties', 'all_equal', 'huge', 'far_and_close', 'one_positive',
          'many_positives', 'trained', 'perfect', 'worst', 'no_positives', 'no_negatives',
          'all_ignored')  # fmt: skip
