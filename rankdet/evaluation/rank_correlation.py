"""How well the ranking by score agrees with the ranking by IoU, and what that is worth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rankdet.evaluation.average_precision import (
    RECALL_LEVELS,
    interpolated_precision,
    mean_of_defined,
)
from rankdet.evaluation.matching import COCO_IOU_THRS, Matching

#: Fewest true positives of a class whose correlation counts: two always correlate fully.
LEAST_TRUE_POSITIVES = 3


def rank_correlation(scores: np.ndarray, ious: np.ndarray) -> float:
    """Pearson's rho between the ranks of scores and the ranks of IoUs; ties share a mean rank.

    NaN where it has no value: fewer than three, or all scores or all IoUs equal.

    >>> rank_correlation([0.9, 0.5, 0.1], [0.9, 0.6, 0.7])
    0.5
    """
    if len(scores) < LEAST_TRUE_POSITIVES:
        return float('nan')
    a, b = _mean_ranks(scores), _mean_ranks(ious)
    a, b = a - a.mean(), b - b.mean()
    scale = np.sqrt((a * a).sum() * (b * b).sum())
    return float((a * b).sum() / scale) if scale > 0 else float('nan')


@dataclass(frozen=True, eq=False)
class CorrelationReport:
    """Rank correlation of a data set's true positives.

    Attributes:
        class_names: of the K classes.
        per_class: ``(K,)`` rho; NaN for a class that has none.
        num_tp: ``(K,)`` true positives it was taken over.
    """

    class_names: tuple[str, ...]
    per_class: np.ndarray
    num_tp: np.ndarray

    @property
    def rho(self) -> float:
        """Mean over the classes that have a correlation."""
        return mean_of_defined(self.per_class)


def correlation_report(matching: Matching, *, iou_thr: float = 0.5) -> CorrelationReport:
    """Correlation over the true positives at ``iou_thr``, class by class.

    The result that was matched should be a detector's output after NMS, as the aLRP paper
    has it in Sec. 5. What is absorbed by a crowd is no true positive.
    """
    per_class, num_tp = [], []
    for label in range(len(matching.gt.class_ids)):
        where, ious = matching.true_positives(label, iou_thr)
        scores = matching.dt.scores[matching.class_slice(label)][where]
        per_class.append(rank_correlation(scores, ious))
        num_tp.append(len(where))
    return CorrelationReport(matching.gt.class_names, np.array(per_class), np.array(num_tp, int))


def correlation_bounds(matching: Matching, *, iou_thr: float = 0.5) -> dict[str, dict[str, float]]:
    """AP if localisation ranked inversely (lower) or exactly as the scores do (upper).

    Table 5 of the aLRP paper: within each class the IoUs of the true positives at ``iou_thr``
    are dealt out to the same true positives anew, in ascending or descending order of score.
    At a higher threshold those whose new IoU falls short are false positives. Nothing is
    matched anew, so that AP50 stays as it is.

    Returns:
        dict: ``'lower'`` and ``'upper'``, each with ``rho, AP, AP50, AP75, AP90``.
    """
    t = matching.threshold_index(iou_thr)
    num_classes = len(matching.gt.class_ids)
    bounds = {}
    for name, direction in {'lower': 1, 'upper': -1}.items():
        precision = np.full((len(COCO_IOU_THRS), len(RECALL_LEVELS), num_classes), np.nan)
        rho = np.full(num_classes, np.nan)
        for label in range(num_classes):
            outcomes = matching.outcomes(label)
            if not outcomes.num_objects[0]:
                continue
            where, ious = matching.true_positives(label, iou_thr)
            dealt = direction * np.sort(direction * ious)
            rho[label] = rank_correlation(outcomes.scores[where], dealt)
            for i, thr in enumerate(COCO_IOU_THRS):
                tp = _true_at(len(outcomes.scores), where[dealt >= thr])
                precision[i, :, label] = interpolated_precision(
                    tp, outcomes.counted[t, 0], outcomes.num_objects[0]
                )
        bounds[name] = {'rho': mean_of_defined(rho), 'AP': mean_of_defined(precision)}
        for percent in (50, 75, 90):
            at = np.isclose(COCO_IOU_THRS, percent / 100, atol=1e-9)
            bounds[name][f'AP{percent}'] = mean_of_defined(precision[at])
    return bounds


def _true_at(length: int, where: np.ndarray) -> np.ndarray:
    found = np.zeros(length, bool)
    found[where] = True
    return found


def _mean_ranks(values: np.ndarray) -> np.ndarray:
    _, which, count = np.unique(values, return_inverse=True, return_counts=True)
    return (count.cumsum() - (count - 1) / 2)[which]
