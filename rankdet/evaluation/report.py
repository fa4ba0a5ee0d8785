"""Every measure of one result from one matching, and the sweep over score thresholds."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rankdet.evaluation.average_precision import CocoAP, check_max_dets, coco_ap
from rankdet.evaluation.coco_data import (
    Detections,
    GroundTruth,
    load_detections,
    load_ground_truth,
)
from rankdet.evaluation.lrp import LRPReport, check_tau, lrp_report
from rankdet.evaluation.matching import (
    COCO_AREA_RANGES,
    COCO_IOU_THRS,
    Matching,
    match,
    pair_up,
    paired_iou,
)
from rankdet.evaluation.progress import Progress, silent
from rankdet.evaluation.rank_correlation import (
    CorrelationReport,
    correlation_bounds,
    correlation_report,
)
from rankdet.evaluation.voc import VocAP, voc_ap

#: Score thresholds of the DR paper's Table 5.
SWEEP_THRESHOLDS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """All measures of one result.

    Attributes:
        ap: COCO's AP and AR.
        lrp: oLRP.
        correlation: rank correlation of scores and IoUs.
        bounds: AP if localisation ranked inversely or as the scores, see
            :func:`rankdet.evaluation.correlation_bounds`; None if it was not asked for.
        voc: VOC's own AP50; None if it was not asked for.
    """

    ap: CocoAP
    lrp: LRPReport
    correlation: CorrelationReport
    bounds: dict[str, dict[str, float]] | None = None
    voc: VocAP | None = None

    def summary(self) -> dict[str, float]:
        """One number per name; AP, AR and oLRP in [0, 1], rho in [-1, 1], NaN if undefined."""
        found = self.ap.summary() | self.lrp.summary() | {'rho': self.correlation.rho}
        for bound, values in (self.bounds or {}).items():
            found |= {f'{bound}/{name}': value for name, value in values.items()}
        return found | (self.voc.summary() if self.voc else {})

    def per_class(self) -> dict[str, dict[str, float]]:
        """Class name to AP, oLRP with components and LRP-optimal threshold, and rho."""
        measured = zip(
            self.lrp.by_class().items(),
            self.ap.per_class().tolist(),
            self.correlation.per_class.tolist(),
        )
        return {name: {'AP': ap, **lrp, 'rho': rho} for (name, lrp), ap, rho in measured}


def notes(gt: GroundTruth, dt: Detections) -> list[str]:
    """What explains values of 0, 1 or NaN: one sentence for each oddity, none as a rule."""
    found = []
    if not len(dt):
        found.append('the result is empty: nothing was detected')
    huge = ~gt.crowd & (gt.areas > COCO_AREA_RANGES['all'][1])
    counts = ~gt.crowd & ~huge
    if not counts.any():
        found.append(
            f'no object counts, so that every value is NaN: of {len(gt)} objects {gt.crowd.sum()} '
            f'are crowds and {huge.sum()} have an area above 1e10, the greatest that COCO counts'
        )
    elif huge.any():
        found.append(
            f'{huge.sum()} of {len(gt)} objects do not count: their area is above 1e10, the '
            'greatest that COCO counts'
        )
    if not counts.any() or not len(dt):
        return found
    with_objects = np.unique(gt.image[counts])
    detected = np.isin(with_objects, dt.image).sum()
    if 2 * detected < len(with_objects):
        found.append(
            f'only {detected} of the {len(with_objects)} images with objects have detections: the '
            'result may be one of some images, or cut at a high score'
        )
    if not _some_overlap(gt, dt, counts):
        found.append(
            'no detection reaches IoU 0.5 with an object of its class, so that no AP is above 0: '
            'boxes must be x, y, width, height in pixels of the original image; no number of '
            f'theirs is above {dt.boxes.max():.4g}'
        )
    return found


def _some_overlap(gt: GroundTruth, dt: Detections, counts: np.ndarray) -> bool:
    """Whether a detection overlaps an object that counts by half; looks no further than one."""
    group = dt.image * len(gt.class_ids) + dt.label
    order = np.argsort(group, kind='stable')
    for _, row, _, obj in pair_up(gt, group[order]):
        iou = paired_iou(dt.boxes[order[row]], gt.boxes[obj], np.zeros(len(obj), bool))
        if (counts[obj] & (iou >= COCO_IOU_THRS[0])).any():
            return True
    return False


def match_for_all(
    gt: GroundTruth,
    dt: Detections,
    *,
    tau: float = 0.5,
    max_dets: int = 100,
    progress: Progress = silent,
) -> Matching:
    """The matching that serves every measure: COCO's IoU thresholds and, if it is none, tau."""
    check_tau(tau)
    known = np.isclose(COCO_IOU_THRS, tau, rtol=0, atol=1e-9).any()
    thrs = COCO_IOU_THRS if known else np.append(COCO_IOU_THRS, tau)
    return match(gt, dt, iou_thrs=thrs, max_dets=max_dets, progress=progress)


def evaluate(
    gt: GroundTruth | str | os.PathLike | Mapping,
    dt: Detections | str | os.PathLike | Iterable[Mapping],
    *,
    tau: float = 0.5,
    max_dets: Sequence[int] = (1, 10, 100),
    bounds: bool = True,
    voc: bool = False,
    progress: Progress = silent,
) -> Evaluation:
    """Measure a detection result in every way of the papers, matching it once.

    Args:
        gt: COCO ground truth, loaded or not.
        dt: COCO results, loaded or not.
        tau: IoU from which on oLRP calls a detection a true positive, in [0, 1); at 0 a disjoint
            one is one, see :func:`olrp`.
        max_dets: numbers of detections per image and class that AR is given for, ascending;
            the last one is what takes part in everything.
        bounds: also find the bounds of perfect and inverse rank correlation.
        voc: also measure VOC's own AP50; crowds are then VOC's difficult objects.
        progress: told how far it is.

    Returns:
        Evaluation: its ``summary()`` has the numbers of the tables. A class without objects
        that count is left out everywhere. Without any detection AP and AR are 0, oLRP is 1
        and the rank correlation NaN; without any object that counts all are NaN.

    Raises:
        ValueError: unusable input, see :func:`load_ground_truth`, :func:`load_detections`.

    >>> gt = dict(images=[dict(id=1)], categories=[dict(id=1, name='cat')],
    ...           annotations=[dict(image_id=1, category_id=1, bbox=[0, 0, 10, 10])])
    >>> dt = [dict(image_id=1, category_id=1, bbox=[0, 0, 10, 8], score=0.9)]
    >>> found = evaluate(gt, dt).summary()
    >>> print(f'{found["AP"]:.2f} {found["AP75"]:.2f} {found["AP90"]:.2f} {found["oLRP"]:.2f}')
    0.70 1.00 0.00 0.40
    """
    tau, max_dets = check_tau(tau), check_max_dets(max_dets)
    gt, dt = load_pair(gt, dt, progress)
    matching = match_for_all(gt, dt, tau=tau, max_dets=max_dets[-1], progress=progress)
    progress('measuring', 0, 1)
    found = evaluate_matching(matching, tau=tau, max_dets=max_dets, bounds=bounds)
    return replace(found, voc=voc_ap(gt, dt)) if voc else found


def evaluate_matching(
    matching: Matching,
    *,
    tau: float = 0.5,
    max_dets: Sequence[int] = (1, 10, 100),
    bounds: bool = True,
) -> Evaluation:
    """:func:`evaluate` where the matching has been made, see :func:`match_for_all`."""
    return Evaluation(
        ap=coco_ap(matching, max_dets=tuple(max_dets)),
        lrp=lrp_report(matching, tau=tau),
        correlation=correlation_report(matching),
        bounds=correlation_bounds(matching) if bounds else None,
    )


def sweep_score_thresholds(
    gt: GroundTruth | str | os.PathLike | Mapping,
    dt: Detections | str | os.PathLike | Iterable[Mapping],
    thresholds: Sequence[float] = SWEEP_THRESHOLDS,
    *,
    tau: float = 0.5,
    max_dets: Sequence[int] = (1, 10, 100),
    progress: Progress = silent,
) -> dict[float, Evaluation]:
    """Measure a result as if the detector had dropped what does not score above a threshold.

    Table 5 of the DR paper from one saved result. Dropping before or after a hard NMS per
    class is the same, because a box is only ever suppressed by one that scores higher. The
    result must have been saved with a threshold no higher than the lowest one here; a warning
    says where it seems not to have been.

    Returns:
        dict: threshold to measures, in the order given. Detections *above* it stay, as in
        MMDetection.
    """
    wrong = [thr for thr in thresholds if not np.isfinite(thr)]
    if wrong or not len(thresholds):
        raise ValueError(f'thresholds must be one or more finite numbers, got {thresholds}')
    tau, max_dets = check_tau(tau), check_max_dets(max_dets)
    gt, dt = load_pair(gt, dt, progress)
    for note in notes(gt, dt):
        warnings.warn(note, stacklevel=2)
    if dropped := [thr for thr in thresholds if len(dt) and thr >= dt.scores.max()]:
        warnings.warn(
            f'no detection scores above {", ".join(f"{thr:g}" for thr in dropped)}; the greatest '
            f'score is {dt.scores.max():.4g}',
            stacklevel=2,
        )
    idle = [thr for thr in thresholds if len(dt) and thr < dt.scores.min()]
    if len(idle) > 1:
        warnings.warn(
            f'no detection scores below {dt.scores.min():.4g}, so that the thresholds {idle} '
            'give the same numbers: the result may have been saved with a higher threshold',
            stacklevel=2,
        )
    matching = match_for_all(gt, dt, tau=tau, max_dets=max_dets[-1], progress=progress)
    found = {}
    for done, thr in enumerate(thresholds, 1):
        above = matching.above(thr)
        found[float(thr)] = evaluate_matching(above, tau=tau, max_dets=max_dets, bounds=False)
        progress('thresholds', done, len(thresholds))
    return found


def load_pair(
    gt: GroundTruth | str | os.PathLike | Mapping,
    dt: Detections | str | os.PathLike | Iterable[Mapping],
    progress: Progress = silent,
) -> tuple[GroundTruth, Detections]:
    """Both sides loaded, unless they are already."""
    if not isinstance(gt, GroundTruth):
        progress('reading ground truth', 0, 1)
        gt = load_ground_truth(gt)
    if not isinstance(dt, Detections):
        progress('reading results', 0, 1)
        dt = load_detections(dt, gt)
    return gt, dt
