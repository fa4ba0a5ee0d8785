"""VOC's AP as its development kit walks through the detections, one at a time."""

from __future__ import annotations

import math

from tests.reference.matching import count_objects, iou


def voc_ap(gt: dict, results: list[dict], category: int, thr: float) -> tuple[float, float]:
    """11-point AP and area AP of a class; ``iscrowd`` marks the difficult objects."""
    num_objects = count_objects(gt, category)
    if num_objects == 0:
        return math.nan, math.nan
    objects = [dict(a, found=False) for a in gt['annotations'] if a['category_id'] == category]
    detections = [r for r in results if r['category_id'] == category]
    recall, precision, tp, fp = [], [], 0, 0
    for det in sorted(detections, key=lambda d: -d['score']):
        best, best_iou = None, -math.inf
        for obj in objects:
            value = iou(det['bbox'], obj['bbox'])
            if obj['image_id'] == det['image_id'] and value > best_iou:
                best, best_iou = obj, value
        if best_iou < thr:
            fp += 1
        elif best['iscrowd']:
            continue
        elif best['found']:
            fp += 1
        else:
            best['found'] = True
            tp += 1
        recall.append(tp / num_objects)
        precision.append(tp / (tp + fp))

    def reached(level: float) -> float:
        return max((p for r, p in zip(recall, precision) if r >= level - 1e-9), default=0.0)

    eleven = sum(reached(n / 10) for n in range(11)) / 11
    steps = sorted(set(recall) - {0.0})
    area = sum((b - a) * reached(b) for a, b in zip([0.0, *steps], steps))
    return eleven, area
