"""COCO's average precision and average recall."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rankdet.evaluation.matching import COCO_AREA_RANGES, COCO_IOU_THRS, Matching, Outcomes

RECALL_LEVELS = np.linspace(0.0, 1.0, 101)


def interpolated_precision(
    tp: np.ndarray, counted: np.ndarray, num_objects: int, levels: np.ndarray = RECALL_LEVELS
) -> np.ndarray:
    """Best precision at or beyond each recall level; 0 at a recall that is never reached.

    Precision only falls between true positives, so that they alone are looked at.

    Args:
        tp, counted: ``(n,)`` bool, best score first: the true positives; all that count.
        num_objects: objects that count, at least 1.
        levels: ``(R,)`` recall levels.

    >>> hit, counted = np.array([True, False, True]), np.ones(3, bool)
    >>> interpolated_precision(hit, counted, 2, np.array([0.5, 1.0])).round(3).tolist()
    [1.0, 0.667]
    """
    nth = np.flatnonzero(tp)
    hits = np.arange(1, len(nth) + 1)
    # The same last bit as pycocotools, which adds one unit of rounding to the denominator.
    precision = hits / (np.cumsum(counted)[nth] + np.spacing(1))
    best = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return best[np.searchsorted(hits / num_objects, levels)]


@dataclass(frozen=True, eq=False)
class CocoAP:
    """What COCO measures, per class; NaN where a class has no objects that count.

    Attributes:
        precision: ``(T, R, K, A)`` at 101 recall levels, the best ``max_dets[-1]`` detections.
        recall: ``(T, K, A, M)`` greatest recall with the best ``max_dets[m]`` detections.
        iou_thrs, max_dets: what they were measured at.
        area_names: ``(A,)`` names of the size ranges.
    """

    precision: np.ndarray
    recall: np.ndarray
    iou_thrs: np.ndarray
    max_dets: tuple[int, ...]
    area_names: tuple[str, ...]

    def ap(self, iou_thr: float | None = None, area: str = 'all') -> float:
        """Mean over classes, recall levels and thresholds, or at one threshold."""
        t = slice(None) if iou_thr is None else np.isclose(self.iou_thrs, iou_thr, atol=1e-9)
        return mean_of_defined(self.precision[t][..., self.area_names.index(area)])

    def ar(self, area: str = 'all', max_dets: int | None = None) -> float:
        """Greatest recall, mean over classes and thresholds."""
        m = -1 if max_dets is None else self.max_dets.index(max_dets)
        return mean_of_defined(self.recall[..., self.area_names.index(area), m])

    def per_class(self) -> np.ndarray:
        """``(K,)`` AP over all thresholds."""
        return self.precision[..., self.area_names.index('all')].mean((0, 1))

    def summary(self) -> dict[str, float]:
        """The numbers of the papers' tables, by name, in [0, 1]."""
        found = {'AP': self.ap()}
        found |= {f'AP{percent}': self.ap(percent / 100) for percent in (50, 75, 90)}
        sizes = [name for name in self.area_names if name != 'all']
        found |= {f'AP_{name[0].upper()}': self.ap(area=name) for name in sizes}
        found |= {f'AR@{m}': self.ar(max_dets=m) for m in self.max_dets}
        found |= {f'AR_{name[0].upper()}': self.ar(area=name) for name in sizes}
        return found


def check_max_dets(max_dets: Sequence[int]) -> tuple[int, ...]:
    """Return ``max_dets`` as a tuple if it ascends from at least 1."""
    found = tuple(max_dets)
    if not found or found[0] < 1 or found != tuple(sorted(set(found))):
        raise ValueError(f'max_dets must be at least 1 and ascend, got {found}')
    return found


def coco_ap(matching: Matching, *, max_dets: tuple[int, ...] = (1, 10, 100)) -> CocoAP:
    """COCO's AP and AR, equal to pycocotools' ``COCOeval`` to the last bit per class.

    Args:
        matching: made at COCO's IoU thresholds (more do no harm) and size ranges.
        max_dets: numbers of detections per image and class, ascending; the last one is that
            of the matching and the one that AP is measured at.

    Raises:
        ValueError: ``max_dets`` is not ascending from at least 1, or ends in another number than
            the matching.
    """
    max_dets = check_max_dets(max_dets)
    if max_dets[-1] != matching.max_dets:
        raise ValueError(
            f'max_dets must end in the {matching.max_dets} of the matching, got {max_dets}'
        )
    thresholds = [matching.threshold_index(t) for t in COCO_IOU_THRS]
    num_classes, num_areas = len(matching.gt.class_ids), len(matching.area_ranges)
    precision = np.full((len(thresholds), len(RECALL_LEVELS), num_classes, num_areas), np.nan)
    recall = np.full((len(thresholds), num_classes, num_areas, len(max_dets)), np.nan)
    for label in range(num_classes):
        outcomes = matching.outcomes(label)
        for a in np.flatnonzero(outcomes.num_objects):
            recall[:, label, a] = _recall(outcomes, a, max_dets)[thresholds]
            for i, t in enumerate(thresholds):
                precision[i, :, label, a] = interpolated_precision(
                    outcomes.tp[t, a], outcomes.counted[t, a], outcomes.num_objects[a]
                )
    return CocoAP(precision, recall, COCO_IOU_THRS, max_dets, tuple(COCO_AREA_RANGES))


def _recall(outcomes: Outcomes, area: int, max_dets: tuple[int, ...]) -> np.ndarray:
    """``(T, M)`` share of the objects found by the best ``max_dets`` of each image."""
    within = outcomes.rank < np.array(max_dets)[:, None]
    return (outcomes.tp[:, None, area] & within).sum(-1) / outcomes.num_objects[area]


def mean_of_defined(values: np.ndarray) -> float:
    """Mean of what is not NaN; NaN where nothing else is there."""
    values = np.asarray(values)[~np.isnan(values)]
    return float(values.mean()) if values.size else float('nan')
