"""AP, AUC and aLRP Loss pair by pair in float64: the papers' algorithms, nothing from rankdet.

Scores and targets are flat. Every function returns the value (or values) and the gradients.
"""

from __future__ import annotations

import numpy as np
import torch


def linear_step(delta):
    """H of Eq. 21, or of Eq. 4 for delta = 0."""
    if delta == 0:
        return lambda x: (x >= 0).double()
    return lambda x: (x / (2 * delta) + 0.5).clamp(0, 1)


def sigmoid_step(scale):
    return lambda x: torch.sigmoid(scale * x)


def _indices(scores, targets):
    scores = torch.as_tensor(scores).detach().double()
    targets = torch.as_tensor(targets)
    positives = (targets == 1).nonzero().flatten()
    negatives = (targets == 0).nonzero().flatten()
    return scores, positives, negatives


def ap_loss(scores, targets, step, interpolated=True):
    """Algorithm 1 of Chen et al., the loop on positive indices."""
    scores, positives, negatives = _indices(scores, targets)
    gradient = torch.zeros_like(scores)
    value = 0.0
    max_precision = 0.0
    for i in positives[scores[positives].argsort()]:
        others = positives[positives != i]
        h = step(scores[negatives] - scores[i])
        rank = 1 + step(scores[others] - scores[i]).sum() + h.sum()
        primary = h / rank
        precision = 1 - primary.sum()
        if interpolated:
            if precision >= max_precision:
                max_precision = precision
            else:
                primary = primary * (1 - max_precision) / (1 - precision)
        value += primary.sum().item()
        gradient[i] -= primary.sum()
        gradient[negatives] += primary
    count = max(len(positives), 1)
    return value / count, gradient / count


def auc_loss(scores, targets, step):
    """Eq. 7 of Chen et al. in the place of Eq. 3."""
    scores, positives, negatives = _indices(scores, targets)
    gradient = torch.zeros_like(scores)
    value = 0.0
    for i in positives:
        primary = step(scores[negatives] - scores[i]) / max(len(negatives), 1)
        value += primary.sum().item()
        gradient[i] -= primary.sum()
        gradient[negatives] += primary
    count = max(len(positives), 1)
    return value / count, gradient / count


def alrp_loss(scores, targets, errors, step):
    """Eq. 11 and 14 of Oksuz et al. as released: hard order for boxes, no update below 1e-5.

    ``errors`` hold one error per positive. Returns cls, loc, and their gradients with respect
    to scores and errors.
    """
    scores, positives, negatives = _indices(scores, targets)
    errors = torch.as_tensor(errors).detach().double()
    gradient, errors_gradient = torch.zeros_like(scores), torch.zeros_like(errors)
    cls = loc = 0.0
    for n, i in enumerate(positives):
        h = step(scores[negatives] - scores[i])
        among = step(scores[positives] - scores[i])
        among[n] = 0
        rank = 1 + among.sum() + h.sum()
        cls += (h.sum() / rank).item()
        ahead = scores[positives] >= scores[i]
        loc += (errors[ahead].sum() / rank).item()
        errors_gradient[ahead] += 1 / rank
        if h.sum() > 1e-5:
            update = (h.sum() + (errors * among).sum()) / rank * h / h.sum()
            gradient[i] -= update.sum()
            gradient[negatives] += update
    count = max(len(positives), 1)
    return cls / count, loc / count, gradient / count, errors_gradient / count


def algorithm_1(scores, targets, loss, share, target=None, normalizer=None, step=None):
    """Algorithm 1 of Oksuz et al. with all matrices written out.

    ``loss`` and ``target`` map (rank, rank+, FP) of one positive to a number, ``share`` maps the
    vector of x_ij of one positive to a probability.
    """
    scores, positives, negatives = _indices(scores, targets)
    n = len(scores)
    primary, ideal = np.zeros((n, n)), np.zeros((n, n))
    value = 0.0
    for i in positives:
        h = step(scores[negatives] - scores[i]).sum().item()
        others = positives[positives != i]
        rank_plus = 1 + step(scores[others] - scores[i]).sum().item()
        lost = loss(rank_plus + h, rank_plus, h)
        best = 0.0 if target is None else target(rank_plus + h, rank_plus, h)
        value += lost
        p = share(scores[negatives] - scores[i]).numpy()
        primary[i, negatives] = lost * p
        ideal[i, negatives] = np.where(lost * p > 0, best * p, 0)
    z = max(len(positives), 1) if normalizer is None else normalizer
    delta = ideal - primary
    return value / z, torch.from_numpy((delta.sum(1) - delta.sum(0)) / z)
