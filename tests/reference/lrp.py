"""Optimal LRP from its definition: detections are dropped and matched anew at every score."""

from __future__ import annotations

import math

from tests.reference.matching import count_objects, match_class


def lrp(gt: dict, results: list[dict], category: int, tau: float, max_dets: int = 100) -> tuple:
    """LRP of a class and its three components, all detections taking part."""
    outcome = match_class(gt, results, category, tau, max_dets)
    hits = [value for _, obj, value in outcome if obj is not None and not obj.get('iscrowd')]
    n_tp = len(hits)
    n_fp = sum(obj is None for _, obj, _ in outcome)
    n_fn = count_objects(gt, category) - n_tp
    total = n_tp + n_fp + n_fn
    value = (sum((1 - v) / (1 - tau) for v in hits) + n_fp + n_fn) / total
    if n_tp == 0:
        return value, math.nan, math.nan, 1.0
    loc = sum(1 - v for v in hits) / n_tp
    return value, loc, n_fp / (n_tp + n_fp), n_fn / (n_tp + n_fn)


def optimal_lrp(
    gt: dict, results: list[dict], category: int, tau: float, max_dets: int = 100
) -> tuple:
    """(oLRP, loc, fp, fn, threshold); the highest threshold of several that are optimal."""
    if count_objects(gt, category) == 0:
        return (math.nan,) * 5
    best = (1.0, math.nan, math.nan, 1.0, math.nan)
    scores = sorted({r['score'] for r in results if r['category_id'] == category}, reverse=True)
    for score in scores:
        kept = [r for r in results if r['score'] >= score]
        found = lrp(gt, kept, category, tau, max_dets)
        unset = math.isnan(best[4]) and not math.isnan(found[1])
        if found[0] < best[0] - 1e-12 or (unset and found[0] <= best[0]):
            best = (*found, score)
    return best
