"""Random augmentation that a resumed run repeats exactly.

MMEngine seeds the generators of a data worker once, when the worker starts. What a sample looks
like then depends on all samples drawn before it, and a run that resumes from a checkpoint sees
other images than one that was never interrupted. Here every sample is a function of
(seed, epoch, index) alone, for any number of workers, persistent or not, and on any number of
processes; the sampler carries the epoch to the workers in the index itself.

A config says three things: a seed, the sampler, and the wrapper, outermost, around the data set::

    randomness = dict(seed=0)
    train_dataloader = dict(
        sampler=dict(_delete_=True, type='SeededSampler', shuffle=True),
        dataset=dict(_delete_=True, type='SeededDataset', dataset=dict(type='CocoDataset', ...)),
    )

Runs counted in iterations take ``SeededInfiniteSampler``. Not covered: transforms that keep samples
from one call to the next (CachedMosaic, CachedMixUp). For what the model draws there is
``SeededIterations``.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from mmdet.registry import DATA_SAMPLERS, DATASETS
from mmengine.dataset import DefaultSampler, InfiniteSampler
from mmengine.logging import print_log

__all__ = ['SeededDataset', 'SeededIndex', 'SeededInfiniteSampler', 'SeededSampler']


class SeededIndex(int):
    """An index that knows the random numbers of its sample.

    Args:
        index: Index in the data set.
        entropy: Integers, none negative, that are the same whenever the sample must be the same;
            the samplers here give (seed, epoch).

    Example:
        >>> index = SeededIndex(7, (0, 2))
        >>> index == 7, index.entropy
        (True, (0, 2))
    """

    entropy: tuple[int, ...]

    def __new__(cls, index: int, entropy: tuple[int, ...]) -> SeededIndex:
        self = super().__new__(cls, index)
        self.entropy = tuple(entropy)
        return self

    def __reduce__(self) -> tuple:  # on its way to a worker
        return SeededIndex, (int(self), self.entropy)


@contextmanager
def _seeded(index: SeededIndex) -> Iterator[None]:
    """Seed the global generators on the CPU, and give them back as they were."""
    sequence = np.random.SeedSequence((*index.entropy, int(index)))
    for_random, for_torch = map(int, sequence.generate_state(2, np.uint64))
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(for_random)
    np.random.seed(sequence.generate_state(8)[4:])  # the words behind those two
    torch.default_generator.manual_seed(for_torch)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


_MOST_SKIPPED = 20  # in a row; beyond that it is not single images that are broken


def _is_unreadable(error: Exception) -> bool:
    """Whether it is the image: OpenCV's ways of saying so, Pillow's, and a missing file."""
    by_opencv = ('failed to load image', '!buf.empty()', 'CV_IO_MAX_IMAGE_')
    by_pillow = isinstance(error, OSError) and error.errno is None
    return (
        isinstance(error, FileNotFoundError)
        or by_pillow
        or any(words in str(error) for words in by_opencv)
    )


@DATASETS.register_module()
class SeededDataset:
    """Draw each sample of a data set under generators seeded by its index.

    Wraps any data set, other wrappers included, and must be the outermost one. Everything but the
    drawing of samples is the wrapped data set's. A plain integer as index, as in browsing, leaves
    the generators alone.

    Args:
        dataset: A data set or its config.
        skip_unreadable: Take the next image, with a warning that names the file, where one is
            missing or cannot be decoded. Which images a run sees stays the same on resuming.
            False: such an image ends the training.
    """

    def __init__(self, dataset: Any, skip_unreadable: bool = False) -> None:
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        self.skip_unreadable = skip_unreadable

    def __getitem__(self, index: int) -> Any:
        if not isinstance(index, SeededIndex):
            return self.dataset[index]
        for skipped in range(_MOST_SKIPPED if self.skip_unreadable else 0):
            try:
                return self._draw(SeededIndex((index + skipped) % len(self), index.entropy))
            except Exception as error:
                if not _is_unreadable(error):
                    raise
                print_log(f'skipped an image: {error}', 'current', logging.WARNING)
        return self._draw(index)

    def _draw(self, index: SeededIndex) -> Any:
        with _seeded(index):
            return self.dataset[int(index)]

    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def pipeline(self) -> Any:
        """The wrapped data set's; hooks that switch it in mid-training assign to it."""
        return self.dataset.pipeline

    @pipeline.setter
    def pipeline(self, pipeline: Any) -> None:
        self.dataset.pipeline = pipeline

    def __getattr__(self, name: str) -> Any:
        # Special names would let a loader fetch past __getitem__ (__getitems__), or recurse here
        # while a copy is unpickled.
        if name == 'dataset' or (name.startswith('__') and name.endswith('__')):
            raise AttributeError(f'{type(self).__name__!r} object has no attribute {name!r}')
        return getattr(self.dataset, name)


def _require_seeded_dataset(dataset: Any, sampler: Any) -> None:
    outermost = getattr(dataset, '_dataset', dataset)  # num_batch_per_epoch adds a slice around it
    if not isinstance(outermost, SeededDataset):
        raise ValueError(
            f'{type(sampler).__name__} needs dataset=dict(type="SeededDataset", dataset=...) '
            f'around the whole data set, got {type(outermost).__name__}'
        )


@DATA_SAMPLERS.register_module()
class SeededSampler(DefaultSampler):
    """MMEngine's ``DefaultSampler`` for :class:`SeededDataset`: same order, same arguments."""

    def __init__(self, dataset: Any, *args: Any, **kwargs: Any) -> None:
        _require_seeded_dataset(dataset, self)
        super().__init__(dataset, *args, **kwargs)

    def __iter__(self) -> Iterator[SeededIndex]:
        entropy = (self.seed, self.epoch)
        return (SeededIndex(index, entropy) for index in super().__iter__())


@DATA_SAMPLERS.register_module()
class SeededInfiniteSampler(InfiniteSampler):
    """MMEngine's ``InfiniteSampler`` for :class:`SeededDataset`: same order, same arguments.

    An epoch is one pass of all processes together over the data set.
    """

    def __init__(self, dataset: Any, *args: Any, **kwargs: Any) -> None:
        _require_seeded_dataset(dataset, self)
        super().__init__(dataset, *args, **kwargs)

    def _infinite_indices(self) -> Iterator[SeededIndex]:
        # Below the slicing by process and the skipping on resume: both keep what is counted here.
        for position, index in enumerate(super()._infinite_indices()):
            yield SeededIndex(index, (self.seed, position // self.size))
