"""Rank correlation and its bounds on AP, from their definitions."""

from __future__ import annotations

import math

from tests.reference.matching import count_objects, match_class


def rho(scores: list[float], ious: list[float]) -> float:
    """Pearson's rho of ranks, a rank being 1 + (number below) + half the number of ties."""

    def ranks(values):
        return [
            1 + sum(w < v for w in values) + (sum(w == v for w in values) - 1) / 2 for v in values
        ]

    if len(scores) < 3:
        return math.nan
    a, b = ranks(scores), ranks(ious)
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    cov = sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b))
    spread = sum((x - mean_a) ** 2 for x in a) * sum((y - mean_b) ** 2 for y in b)
    return cov / math.sqrt(spread) if spread else math.nan


def true_positives(gt: dict, results: list[dict], category: int) -> tuple[list, list]:
    """Scores and IoUs of a class's true positives at IoU 0.5."""
    outcome = match_class(gt, results, category, 0.5, 100)
    hits = [(d['score'], v) for d, obj, v in outcome if obj is not None and not obj['iscrowd']]
    return [s for s, _ in hits], [v for _, v in hits]


def bound_ap(gt: dict, results: list[dict], category: int, thr: float, upper: bool) -> float:
    """AP of a class at ``thr`` with the IoUs at 0.5 dealt out in (inverse) order of score."""
    outcome = match_class(gt, results, category, 0.5, 100)
    ranked = sorted(outcome, key=lambda entry: -entry[0]['score'])
    ious = sorted((v for _, o, v in outcome if o and not o['iscrowd']), reverse=upper)
    tp, counted, points = 0, 0, []
    for _, obj, _ in ranked:
        if obj is not None and obj['iscrowd']:
            continue
        counted += 1
        tp += obj is not None and ious.pop(0) >= thr
        points.append((tp / count_objects(gt, category), tp / counted))
    levels = [n / 100 for n in range(101)]
    return sum(max((p for r, p in points if r >= x - 1e-9), default=0.0) for x in levels) / 101
