"""How the positives of a batch rank, and how an update reaches the scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ._inputs import RankingInputs, check_choice, check_number
from ._scope import Processes
from ._step import LinearStep, PairwiseStep, SigmoidStep

STEPS = ('linear', 'sigmoid')
# Wide beyond all use; the sums of much wider steps leave float32.
_WIDEST = 1e20


@dataclass(frozen=True)
class Step:
    """Which H, see :mod:`._step`."""

    kind: str = 'linear'
    delta: float = 1.0
    scale: float = 1.0

    def check(self) -> None:
        """Raise on a value out of range."""
        check_choice('step', self.kind, STEPS)
        check_number('delta', self.delta, minimum=0)
        if self.delta > _WIDEST:
            raise ValueError(f'delta must be at most {_WIDEST:g}, got {self.delta!r}')
        check_number('scale', self.scale, minimum=0, strict=True)

    def over(self, positives: Tensor, dtype: torch.dtype) -> LinearStep | SigmoidStep:
        """The step's sums over sorted positive scores."""
        if self.kind == 'linear':
            return LinearStep(positives, self.delta, dtype)
        return SigmoidStep(positives, self.scale, dtype)


class Ranking:
    """How the positives of a batch, or of all processes' batches, rank.

    All per-positive vectors are float64 ``(P,)`` in ascending order of score, and copies: a rule
    may change them in place.
    """

    def __init__(self, inputs: RankingInputs, step: Step, processes: Processes) -> None:
        self._inputs = inputs
        self._processes = processes
        scores = inputs.scores.detach()
        own = scores[inputs.positives].double()
        everyone, self._own = processes.gather(own)
        self._scores, self._order = everyone.sort(stable=True)
        self._false_positives = torch.zeros_like(self._scores)
        if not len(self):
            return
        self._step = step.over(self._scores, scores.dtype)
        self._values, self._index = _candidates(scores, inputs.is_negative, self._step.floor)
        self._false_positives = processes.sum(self._step.count(self._values))

    def __len__(self) -> int:
        return self._scores.shape[0]

    @property
    def scores(self) -> Tensor:
        """The positives' scores."""
        return self._scores.clone()

    @property
    def false_positives(self) -> Tensor:
        """FP(i), the negatives above i, each counted by the step H."""
        return self._false_positives.clone()

    @property
    def rank_among_positives(self) -> Tensor:
        """rank+(i) = 1 + sum of H(x_ik) over the other positives k."""
        return 1 + self._others_above

    @property
    def rank(self) -> Tensor:
        """rank(i) = rank+(i) + FP(i)."""
        return self.rank_among_positives + self._false_positives

    @cached_property
    def _others_above(self) -> Tensor:
        return self.positives_above(torch.ones_like(self._scores))

    @cached_property
    def num_negatives(self) -> Tensor:
        """The number of negatives, trivial negatives included."""
        return self._processes.sum(self._inputs.is_negative.count_nonzero())

    def positives_above(self, weights: Tensor) -> Tensor:
        """The sum of w_k H(x_ik) over the other positives k, for each positive i."""
        return self._step.positives_above(weights) if len(self) else torch.zeros_like(weights)

    @cached_property
    def loc_errors(self) -> Tensor:
        """E(i), where the loss takes localisation errors."""
        errors = self._inputs.loc_errors
        assert errors is not None
        return self.align(errors)

    def align(self, values: Tensor) -> Tensor:
        """What belongs to the positives, from the order of ``targets.flatten()`` to that of scores.

        Where processes rank together each gives the values of its own positives, and gets all.
        """
        if self._inputs.members is not None:
            values = values[self._inputs.members]
        everyone, _ = self._processes.gather(values.detach().double())
        return everyone[self._order]

    def restore(self, values: Tensor) -> Tensor:
        """The inverse of :meth:`align`: this process's, in the order of the targets."""
        everyone = torch.empty_like(values)
        everyone[self._order] = values
        return everyone[self._own]

    def gradient(self, update: Tensor, share: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """The error-driven update of all scores, ``(n,)``; may be called once.

        Args:
            update: l(i) - l*(i), divided by Z: what each positive asks for. The negatives bear
                it, each its share p(j|i), and the positive as much in the other direction. It
                is lost where there is no negative to bear any.
            share: p(j|i) up to a factor, as a function of a block of x_ij; None for H.
        """
        scores = self._inputs.scores.detach()
        if not len(self):
            return torch.zeros_like(scores)
        step: LinearStep | PairwiseStep = self._step
        values, index = self._values, self._index
        total = self._false_positives
        if share is not None:
            index = self._inputs.is_negative.nonzero().squeeze(1)
            values = scores.index_select(0, index)
            step = PairwiseStep(self._scores, share, scores.dtype)
            total = self._processes.sum(step.count(values))
        each = torch.where(total == 0, 0.0, update / total)
        gradient = step.spread(values, each)
        if index is not None:
            gradient = torch.zeros_like(scores).index_copy_(0, index, gradient)
        pull = self.restore(-each * total)
        return gradient.index_copy_(0, self._inputs.positives, pull.to(gradient.dtype))


def _candidates(scores: Tensor, is_negative: Tensor, floor: Tensor) -> tuple[Tensor, Tensor | None]:
    """A fresh buffer of the non-trivial negatives' scores, and their positions.

    Without positions the buffer covers all scores, with -inf for those left out: cheaper
    where most are wanted, and free of synchronisation on devices that would need one.
    """
    keep = scores < floor
    keep.logical_not_().logical_and_(is_negative)
    if keep.device.type == 'cpu' and 2 * int(keep.count_nonzero()) < keep.numel():
        index = keep.nonzero().squeeze(1)
        return scores.index_select(0, index), index
    return torch.where(keep, scores, -float('inf')), None
