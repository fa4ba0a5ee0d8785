"""Algorithm 1's loop over the positives, which benchmark_losses times beside the closed form.

``float64`` is the loop that the tests hold as reference, over all negatives. ``float32`` is the one
to beat: as the paper's lines 4 and 5 have it, negatives more than delta below every positive are
dropped first, and memory is written in place.
"""

from __future__ import annotations

import torch
from torch import Tensor


def float64(logits: Tensor, targets: Tensor) -> tuple[float, Tensor]:
    """Value and gradient; there is nothing left for a backward pass."""
    from tests.reference import error_driven

    return error_driven.ap_loss(logits, targets, error_driven.linear_step(1))


def float32(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Value and gradient for delta = 1. Nothing is fetched from the device in the loop."""
    scores = logits.detach().float()
    positives, ranked = scores[targets == 1].sort()
    gradient = torch.zeros_like(scores)
    value = scores.new_zeros(())
    if not len(positives):
        return value, gradient
    is_nontrivial = (targets == 0) & (scores > positives[0] - 1)
    negatives = scores[is_nontrivial]
    of_negatives, of_positives = torch.zeros_like(negatives), torch.zeros_like(positives)
    best = value.clone()  # the largest precision so far
    for n, score in enumerate(positives):
        share = (negatives - score).mul_(0.5).add_(0.5).clamp_(0, 1)
        # A positive's own step is 1/2, its rank 1.
        rank = 0.5 + ((positives - score) / 2 + 0.5).clamp(0, 1).sum() + share.sum()
        share /= rank
        precision = 1 - share.sum()
        # Interpolated: an error as small as that of the best precision before.
        share *= torch.where(precision >= best, 1, (1 - best) / (1 - precision).clamp(min=1e-30))
        best = torch.maximum(best, precision)
        of_negatives += share
        of_positives[n] = -share.sum()
        value -= of_positives[n]
    gradient[is_nontrivial] = of_negatives
    where = (targets == 1).nonzero().flatten()
    gradient[where[ranked]] = of_positives
    return value / len(positives), gradient / len(positives)
