"""Structured hinge AP loss by trying every ranking, in float64 (Mohapatra et al. 2018)."""

from __future__ import annotations

from itertools import permutations

import numpy as np


def average_precision(order, targets):
    """AP of a ranking, best first."""
    found, precisions = 0, []
    for rank, item in enumerate(order, start=1):
        if targets[item] == 1:
            found += 1
            precisions.append(found / rank)
    return sum(precisions) / len(precisions)


def discriminant(order, scores, targets):
    """F(R): the mean over pairs of R_ij (s_i - s_j)."""
    place = {item: rank for rank, item in enumerate(order)}
    pos = [i for i in order if targets[i] == 1]
    neg = [j for j in order if targets[j] == 0]
    total = sum((scores[i] - scores[j]) * (1 if place[i] < place[j] else -1)
                for i in pos for j in neg)  # fmt: skip
    return total / len(pos) / len(neg)


def structured_hinge_ap_loss(scores, targets):
    """(loss, gradient) over all permutations of a handful of scores."""
    scores = np.asarray(scores, dtype=np.float64)
    valid = [i for i, t in enumerate(targets) if t != -1]
    ideal = sorted(valid, key=lambda i: -targets[i])
    best, worst_order = -np.inf, None
    for order in permutations(valid):
        value = 1 - average_precision(order, targets) + discriminant(order, scores, targets)
        if value > best:
            best, worst_order = value, order
    loss = best - discriminant(ideal, scores, targets)
    # F is linear in the scores: its gradient is its values at unit vectors.
    grad = np.array([
        discriminant(worst_order, unit, targets) - discriminant(ideal, unit, targets)
        for unit in np.eye(len(scores))
    ])  # fmt: skip
    return loss, grad
