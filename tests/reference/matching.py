"""COCO's matching of one image and class, written from its description, one pair at a time."""

from __future__ import annotations


def iou(a: list[float], b: list[float], crowd: bool = False) -> float:
    """IoU of two boxes ``x, y, width, height``; over the area of ``a`` alone for a crowd."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    overlap = width * height
    area = a[2] * a[3]
    return overlap / (area if crowd else area + b[2] * b[3] - overlap)


def match_image(objects: list[dict], detections: list[dict], thr: float) -> list[tuple]:
    """(detection, object or None, IoU), best score first; the first listed of equal scores.

    A detection takes the free object it overlaps most, a crowd only if no such object reaches
    ``thr``; a crowd is always free; of equal overlaps the object listed last.
    """
    free = [o for o in objects if not o.get('iscrowd')]
    crowds = [o for o in objects if o.get('iscrowd')]
    outcome = []
    for det in sorted(detections, key=lambda d: -d['score']):
        best, best_iou = None, thr
        for candidates, crowd in ((free, False), (crowds, True)):
            for obj in candidates:
                value = iou(det['bbox'], obj['bbox'], crowd)
                if value >= best_iou:
                    best, best_iou = obj, value
            if best is not None:
                break
        if best is not None and not best.get('iscrowd'):
            free = [o for o in free if o is not best]
        outcome.append((det, best, best_iou))
    return outcome


def match_class(gt: dict, results: list[dict], category: int, thr: float, max_dets: int) -> list:
    """:func:`match_image` over all images, concatenated by ascending image id."""
    outcome = []
    for image in sorted(gt['images'], key=lambda i: i['id']):
        here = [
            [r for r in rows if r['image_id'] == image['id'] and r['category_id'] == category]
            for rows in (gt['annotations'], results)
        ]
        best = sorted(here[1], key=lambda d: -d['score'])[:max_dets]
        outcome += match_image(here[0], best, thr)
    return outcome


def count_objects(gt: dict, category: int) -> int:
    return sum(a['category_id'] == category and not a.get('iscrowd') for a in gt['annotations'])
