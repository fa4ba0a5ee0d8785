"""PASCAL VOC's own average precision, by the rules of its development kit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rankdet.evaluation.average_precision import mean_of_defined
from rankdet.evaluation.coco_data import Detections, GroundTruth
from rankdet.evaluation.matching import pair_up, paired_iou


@dataclass(frozen=True, eq=False)
class VocAP:
    """VOC's AP, per class; NaN for a class without objects that count.

    Attributes:
        iou_thr: least IoU of a true positive.
        class_names: of the K classes.
        eleven_point: ``(K,)`` AP of VOC2007, the mean over recall 0, 0.1 ... 1.
        area: ``(K,)`` AP since VOC2010, the area under the monotone precision.
    """

    iou_thr: float
    class_names: tuple[str, ...]
    eleven_point: np.ndarray
    area: np.ndarray

    def summary(self) -> dict[str, float]:
        """Means over the classes, in [0, 1]."""
        name = f'VOC_AP{100 * self.iou_thr:.4g}'
        return {
            f'{name}_11point': mean_of_defined(self.eleven_point),
            f'{name}_area': mean_of_defined(self.area),
        }


def voc_ap(gt: GroundTruth, dt: Detections, *, iou_thr: float = 0.5) -> VocAP:
    """AP as VOC's development kit computes it.

    By descending score each detection looks at the object of its image and class with the
    highest IoU, taken or not. Below ``iou_thr`` it is a false positive; a difficult object
    makes it count as nothing; the first detection of an object is true and every further one
    false. All detections take part.

    Boxes measure distances from the image's corner, so that the pixels ``xmin..xmax`` of an
    annotation are ``xmax - xmin + 1`` wide, as in the kit. Recall is compared with a tenth
    exactly, in integers.

    Args:
        gt: objects; ``crowd`` marks the difficult ones.
        dt: detections.
        iou_thr: least IoU of a true positive, in (0, 1].

    Raises:
        ValueError: ``iou_thr`` is out of range.

    Reference:
        Everingham et al., The PASCAL Visual Object Classes Challenge, IJCV 2010.
    """
    if not 0 < iou_thr <= 1:
        raise ValueError(f'iou_thr must be in (0, 1], got {iou_thr!r}')
    num_classes = len(gt.class_ids)
    group = dt.image * num_classes + dt.label
    order = np.lexsort((-dt.scores, group))
    dt, group = dt[order], group[order]
    tp, ignored = np.zeros(len(dt), bool), np.zeros(len(dt), bool)
    for _, row, nth, obj in pair_up(gt, group):
        iou = paired_iou(dt.boxes[row], gt.boxes[obj], np.zeros(len(obj), bool))
        # Of equal IoUs the kit takes the first object.
        best_last = np.lexsort((-nth, iou, row))
        best = best_last[np.append(np.diff(row[best_last]) > 0, True)[: len(row)]]
        best = best[iou[best] >= iou_thr]
        row, obj = row[best], obj[best]
        difficult = gt.crowd[obj]
        ignored[row[difficult]] = True
        _, first = np.unique(obj[~difficult], return_index=True)
        tp[row[~difficult][first]] = True

    by_score = np.argsort(-dt.scores, kind='stable')
    by_score = by_score[~ignored[by_score]]
    eleven_point, area = np.full((2, num_classes), np.nan)
    for label, num_objects in enumerate(gt.objects_per_class):
        if num_objects:
            hits = tp[by_score[dt.label[by_score] == label]]
            eleven_point[label], area[label] = _two_aps(hits, int(num_objects))
    return VocAP(float(iou_thr), gt.class_names, eleven_point, area)


def _two_aps(tp: np.ndarray, num_objects: int) -> tuple[float, float]:
    """11-point and area AP of the detections that count, best score first."""
    nth = np.flatnonzero(tp)
    hits = np.arange(1, len(nth) + 1)
    best = np.append(np.maximum.accumulate((hits / (nth + 1))[::-1])[::-1], 0.0)
    tenths = np.arange(11) * num_objects
    return best[np.searchsorted(10 * hits, tenths)].mean(), best.sum() / num_objects
