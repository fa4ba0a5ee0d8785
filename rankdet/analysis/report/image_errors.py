"""How well a detector did on each image: LRP, image by image."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rankdet.evaluation import Matching

TAU = 0.5


class ImageErrors(NamedTuple):
    """One entry an image.

    Attributes:
        lrp: LRP in [0, 1]; NaN without any object and any detection.
        tp, fp, fn: objects found, detections that are wrong, objects missed.
        hit: for each detection of the matching, whether it found an object.
        shown: for each detection, whether its score reaches the threshold of its class.
    """

    lrp: np.ndarray
    tp: np.ndarray
    fp: np.ndarray
    fn: np.ndarray
    hit: np.ndarray
    shown: np.ndarray


def image_errors(matching: Matching, thresholds: np.ndarray) -> ImageErrors:
    r"""LRP of each image at IoU 0.5, over all classes.

    .. math::
        \frac{N_{FP} + N_{FN} + \sum_{TP} (1 - IoU) / (1 - \tau)}{N_{FP} + N_{FN} + N_{TP}}

    Args:
        matching: with 0.5 among its IoU thresholds.
        thresholds: ``(K,)`` least score of each class; NaN shows none.
    """
    gt, dt = matching.gt, matching.dt
    images = len(gt.image_ids)
    tp, fp, error = np.zeros(images, int), np.zeros(images, int), np.zeros(images)
    hit, shown = np.zeros(len(dt), bool), dt.scores >= np.asarray(thresholds)[dt.label]
    at = matching.threshold_index(TAU)
    for label in range(len(gt.class_ids)):
        part = matching.class_slice(label)
        where, ious = matching.true_positives(label, TAU)
        counted = matching.outcomes(label).counted[at, 0]
        kept = shown[part][where]
        where, ious = where[kept], ious[kept]
        image = dt.image[part]
        hit[part.start + where] = True
        np.add.at(tp, image[where], 1)
        np.add.at(error, image[where], (1 - ious) / (1 - TAU))
        wrong = counted & shown[part]
        wrong[where] = False
        np.add.at(fp, image[wrong], 1)
    fn = np.bincount(gt.image[~gt.crowd], minlength=images) - tp
    total = tp + fp + fn
    lrp = np.where(total > 0, (fp + fn + error) / np.maximum(total, 1), np.nan)
    return ImageErrors(lrp, tp, fp, fn, hit, shown)


def best_and_worst(errors: ImageErrors, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of least and of greatest LRP; of equals those with more boxes come first.

    No image is in both.
    """
    total = errors.tp + errors.fp + errors.fn
    known = np.flatnonzero(total > 0)
    order = known[np.lexsort((known, -total[known], errors.lrp[known]))]
    best = order[: min(count, (len(order) + 1) // 2)]
    rest = order[len(best) :]
    worst = rest[np.lexsort((rest, -total[rest], -errors.lrp[rest]))][:count]
    return best, worst
