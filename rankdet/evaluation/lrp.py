"""Localisation Recall Precision (LRP) and its optimum over score thresholds (oLRP)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rankdet.evaluation.coco_data import Detections, GroundTruth
from rankdet.evaluation.matching import COCO_AREA_RANGES, Matching, match


class OptimalLRP(NamedTuple):
    """The least LRP, its three components there, and the score threshold that reaches it."""

    lrp: float
    loc: float
    fp: float
    fn: float
    threshold: float


def optimal_lrp(
    scores: np.ndarray,
    is_tp: np.ndarray,
    ious: np.ndarray,
    num_objects: int,
    *,
    tau: float = 0.5,
) -> OptimalLRP:
    r"""Optimal LRP of one class, the minimum over every score that a detection has.

    With the detections of score at least s (Eq. 6 of the aLRP paper)::

        LRP(s) = (N_FP + N_FN + sum_TP (1 - IoU) / (1 - tau)) / (N_FP + N_FN + N_TP)

    and its components, as published, are the mean of 1 - IoU over the true positives (``loc``,
    not divided by 1 - tau), N_FP / (N_FP + N_TP) (``fp``) and N_FN / num_objects (``fn``).
    Detections of equal score pass a threshold together; of thresholds that reach the same
    minimum the highest is taken. The authors' release looks between equal scores as well.

    Args:
        scores: ``(n,)`` of the detections that count, in any order.
        is_tp: ``(n,)`` bool, matched to an object with IoU at least ``tau``.
        ious: ``(n,)`` IoU with that object, read at true positives only.
        num_objects: objects that count.
        tau: IoU from which on a detection is a true positive, in [0, 1).

    Returns:
        OptimalLRP: all in [0, 1]. Without true positives ``lrp`` and ``fn`` are 1 and the
        others NaN; without objects all are NaN.

    Reference:
        Oksuz et al., Localization Recall Precision, ECCV 2018; One Metric to Measure them
        All, TPAMI 2021.

    >>> optimal_lrp([0.9, 0.8, 0.7], [True, False, True], [0.8, 0.0, 0.6], 2).lrp
    0.7
    """
    tau = check_tau(tau)
    if num_objects <= 0:
        return OptimalLRP(*[math.nan] * 5)
    scores, is_tp = np.asarray(scores, float), np.asarray(is_tp, bool)
    order = np.argsort(-scores, kind='stable')
    scores, is_tp = scores[order], is_tp[order]
    error = np.where(is_tp, 1 - np.asarray(ious, float)[order], 0.0).cumsum()
    last_of_score = np.append(scores[1:] < scores[:-1], True)[: len(scores)]
    tp = is_tp.cumsum()
    # Without a true positive LRP is 1, its greatest value, and components are undefined.
    at = np.flatnonzero(last_of_score & (tp > 0))
    if not len(at):
        return OptimalLRP(1.0, math.nan, math.nan, 1.0, math.nan)
    tp, fp, error = tp[at], at + 1 - tp[at], error[at]
    fn = num_objects - tp
    lrp = (fp + fn + error / (1 - tau)) / (fp + fn + tp)
    best = lrp.argmin()
    return OptimalLRP(
        lrp=float(lrp[best]),
        loc=float(error[best] / tp[best]),
        fp=float(fp[best] / (fp[best] + tp[best])),
        fn=float(fn[best] / num_objects),
        threshold=float(scores[at[best]]),
    )


@dataclass(frozen=True)
class LRPReport:
    """oLRP of a data set.

    Attributes:
        tau: least IoU of a true positive.
        class_names: of the K classes.
        per_class: K times the optimum and its components; NaN where undefined.
    """

    tau: float
    class_names: tuple[str, ...]
    per_class: tuple[OptimalLRP, ...]

    def summary(self) -> dict[str, float]:
        """Means over the classes that have the value; NaN where none has."""
        values = np.array(self.per_class, float).reshape(-1, 5)[:, :4]
        names = ('oLRP', 'oLRP_loc', 'oLRP_fp', 'oLRP_fn')
        columns = (column[~np.isnan(column)] for column in values.T)
        return {n: float(c.mean()) if c.size else math.nan for n, c in zip(names, columns)}

    def by_class(self) -> dict[str, dict[str, float]]:
        """Class name to ``oLRP``, its components and ``threshold``; NaN where undefined."""
        names = ('oLRP', 'oLRP_loc', 'oLRP_fp', 'oLRP_fn', 'threshold')
        return {k: dict(zip(names, found)) for k, found in zip(self.class_names, self.per_class)}

    def thresholds(self) -> dict[str, float]:
        """LRP-optimal score threshold of each class; NaN for one without true positives."""
        return {name: lrp.threshold for name, lrp in zip(self.class_names, self.per_class)}


def lrp_report(matching: Matching, *, tau: float = 0.5) -> LRPReport:
    """oLRP of every class, from a matching that was made at ``tau`` (among others)."""
    t = matching.threshold_index(check_tau(tau))
    found = []
    for label in range(len(matching.gt.class_ids)):
        outcomes = matching.outcomes(label)
        where, iou_of_tp = matching.true_positives(label, tau)
        ious = np.zeros(len(outcomes.scores))
        ious[where] = iou_of_tp
        counted = outcomes.counted[t, 0]
        found.append(
            optimal_lrp(
                outcomes.scores[counted],
                outcomes.tp[t, 0][counted],
                ious[counted],
                int(outcomes.num_objects[0]),
                tau=tau,
            )
        )
    return LRPReport(float(tau), matching.gt.class_names, tuple(found))


def olrp(gt: GroundTruth, dt: Detections, *, tau: float = 0.5, max_dets: int = 100) -> LRPReport:
    """oLRP of detections on a data set, matched as COCO matches at IoU ``tau``.

    Args:
        gt: objects; crowds absorb detections and are never missed.
        dt: detections.
        tau: least IoU of a true positive, in [0, 1). At 0 an IoU of 0 is enough: a detection that
            is disjoint from all objects of its image and class takes one, and is a true positive.
        max_dets: best detections per image and class that take part.
    """
    all_sizes = [COCO_AREA_RANGES['all']]
    matching = match(gt, dt, iou_thrs=[check_tau(tau)], area_ranges=all_sizes, max_dets=max_dets)
    return lrp_report(matching, tau=tau)


def check_tau(tau: float) -> float:
    """``tau`` if it is a number in [0, 1)."""
    if not 0 <= tau < 1:
        raise ValueError(f'tau must be in [0, 1), got {tau!r}')
    return float(tau)
