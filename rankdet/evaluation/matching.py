"""COCO's matching of detections to objects, once for all measures.

The rules are those of pycocotools' ``COCOeval.evaluateImg``: within an image and class the
detections choose by descending score; each takes the free object of highest IoU, among those
that count before those that are ignored; a crowd stays free. One rule is VOC's: a crowd that is
a difficult object is overlapped by IoU, see :func:`rankdet.evaluation.load_ground_truth`. Here
all images, IoU thresholds and size ranges choose at the same time, turn by turn, over the pairs
that overlap enough.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np

from rankdet.evaluation.coco_data import Detections, GroundTruth
from rankdet.evaluation.progress import Progress, silent

COCO_IOU_THRS = np.linspace(0.5, 0.95, 10)
COCO_AREA_RANGES = {
    'all': (0.0, 1e10),
    'small': (0.0, 32.0**2),
    'medium': (32.0**2, 96.0**2),
    'large': (96.0**2, 1e10),
}
_COCO_RANGES = tuple(COCO_AREA_RANGES.values())
_PAIRS_AT_ONCE = 1_000_000
_COUNTS = np.int32(2**30)  # lifts an object that counts above all that are ignored


def paired_iou(boxes: np.ndarray, others: np.ndarray, region: np.ndarray) -> np.ndarray:
    """IoU of row i of ``boxes`` with row i of ``others``, both ``x, y, width, height``.

    Where ``region`` is true the union is the area of the first box alone, as COCO has it.

    >>> box, other = np.array([[0.0, 0, 2, 2]]), np.array([[1.0, 0, 2, 2]])
    >>> paired_iou(box, other, np.array([True])).tolist()
    [0.5]
    """
    x, y, w, h = boxes.T
    ox, oy, ow, oh = others.T
    width = np.minimum(x + w, ox + ow) - np.maximum(x, ox)
    height = np.minimum(y + h, oy + oh) - np.maximum(y, oy)
    overlap = np.where((width > 0) & (height > 0), width * height, 0.0)
    union = np.where(region, w * h, w * h + ow * oh - overlap)
    return np.divide(overlap, union, out=np.zeros_like(overlap), where=overlap > 0)


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What became of the n detections of one class, best score first.

    Attributes:
        scores: ``(n,)`` descending.
        tp: ``(T, A, n)`` true positives, per IoU threshold and size range.
        counted: ``(T, A, n)`` true and false positives; the others are ignored.
        rank: ``(n,)`` position among the detections of the same image and class, from 0.
        num_objects: ``(A,)`` objects that count.
    """

    scores: np.ndarray
    tp: np.ndarray
    counted: np.ndarray
    rank: np.ndarray
    num_objects: np.ndarray


@dataclass(frozen=True, eq=False)
class Matching:
    """Which object each detection was matched to, at every IoU threshold and size range.

    Attributes:
        gt: the ground truth.
        dt: the detections that take part, by class and then by descending score.
        rank: ``(D,)`` position among the detections of the same image and class, from 0.
        iou_thrs: ``(T,)`` IoU thresholds.
        area_ranges: ``(A, 2)`` smallest and largest area that counts.
        max_dets: detections per image and class that take part.
        rows: ``(C,)`` ascending index of the detections that overlap some object enough.
        matched: ``(C, T, A)`` int32 index of their object, -1 for none.
    """

    gt: GroundTruth
    dt: Detections
    rank: np.ndarray
    iou_thrs: np.ndarray
    area_ranges: np.ndarray
    max_dets: int
    rows: np.ndarray
    matched: np.ndarray

    def threshold_index(self, iou_thr: float) -> int:
        """Where ``iou_thr`` stands in ``iou_thrs``; a ValueError if it was not matched at."""
        near = np.flatnonzero(np.isclose(self.iou_thrs, iou_thr, rtol=0, atol=1e-9))
        if not len(near):
            raise ValueError(f'iou_thr {iou_thr} is not one of {self.iou_thrs.tolist()}')
        return int(near[0])

    @cached_property
    def _counts(self) -> np.ndarray:
        """``(A, G + 1)``: which objects count, and one more that does not."""
        return np.pad(_counting(self.gt, self.area_ranges), ((0, 0), (0, 1)))

    def class_slice(self, label: int) -> slice:
        return slice(*np.searchsorted(self.dt.label, [label, label + 1]))

    def outcomes(self, label: int) -> Outcomes:
        """True and false positives of one class."""
        part = self.class_slice(label)
        dt, low, high = self.dt[part], self.area_ranges[:, :1], self.area_ranges[:, 1:]
        area = dt.boxes[:, 2] * dt.boxes[:, 3]
        inside = (area >= low) & (area <= high)
        shape = (len(self.iou_thrs), *inside.shape)
        tp, counted = np.zeros(shape, bool), np.broadcast_to(inside, shape).copy()
        some = slice(*np.searchsorted(self.rows, [part.start, part.stop]))
        row = self.rows[some] - part.start
        matched = np.moveaxis(self.matched[some], 0, -1)
        hit = (matched >= 0) & self._counts[np.arange(len(low))[:, None], matched]
        tp[..., row] = hit
        counted[..., row] = np.where(matched >= 0, hit, inside[:, row])
        objects = self._counts[:, :-1][:, self.gt.label == label].sum(1)
        return Outcomes(dt.scores, tp, counted, self.rank[part], objects)

    def true_positives(self, label: int, iou_thr: float) -> tuple[np.ndarray, np.ndarray]:
        """Positions of a class's true positives of any size, best score first, and their IoUs."""
        t, part = self.threshold_index(iou_thr), self.class_slice(label)
        some = slice(*np.searchsorted(self.rows, [part.start, part.stop]))
        objects = self.matched[some, t, 0]
        hit = objects >= 0
        hit[hit] = ~self.gt.crowd[objects[hit]]
        rows, objects = self.rows[some][hit], objects[hit]
        ious = paired_iou(self.dt.boxes[rows], self.gt.boxes[objects], self.gt.region[objects])
        return rows - part.start, ious

    def above(self, score_thr: float) -> Matching:
        """The matching of the detections whose score is greater than ``score_thr`` alone.

        Nothing is matched again: those left out chose last.
        """
        keep = self.dt.scores > score_thr
        new_row = np.cumsum(keep) - 1
        chosen = keep[self.rows]
        return replace(
            self,
            dt=self.dt[keep],
            rank=self.rank[keep],
            rows=new_row[self.rows[chosen]],
            matched=self.matched[chosen],
        )


def match(
    gt: GroundTruth,
    dt: Detections,
    *,
    iou_thrs: Sequence[float] | np.ndarray = COCO_IOU_THRS,
    area_ranges: Sequence[tuple[float, float]] | np.ndarray = _COCO_RANGES,
    max_dets: int = 100,
    progress: Progress = silent,
) -> Matching:
    """Match detections to objects as COCO does.

    Args:
        gt: objects, crowds among them.
        dt: detections of the same images and classes.
        iou_thrs: least IoU of a match, each in [0, 1]; every one is matched on its own.
        area_ranges: least and largest area; objects outside are ignored, and so are
            detections outside that match nothing. The first should hold all sizes.
        max_dets: best detections per image and class that take part, at least 1.
        progress: told how far it is.

    Raises:
        ValueError: a threshold outside [0, 1] or ``max_dets`` below 1.
    """
    thrs, ranges = np.asarray(iou_thrs, float), np.asarray(area_ranges, float)
    if not thrs.size or not ((thrs >= 0) & (thrs <= 1)).all():
        raise ValueError(f'iou_thrs must be one or more numbers in [0, 1], got {thrs.tolist()}')
    if max_dets < 1:
        raise ValueError(f'max_dets must be at least 1, got {max_dets}')
    group = dt.image * len(gt.class_ids) + dt.label
    order = np.lexsort((-dt.scores, group))
    group = group[order]
    rank = position_in_run(group)
    order, group, rank = order[rank < max_dets], group[rank < max_dets], rank[rank < max_dets]

    chunks = list(_match_by_turns(gt, dt[order], group, thrs, ranges, progress))
    rows = np.concatenate([np.zeros(0, np.int64), *(rows for rows, _ in chunks)])
    no_match = np.zeros((0, len(thrs), len(ranges)), np.int32)
    matched = np.concatenate([no_match, *(matched for _, matched in chunks)])

    by_class = np.lexsort((-dt.scores[order], dt.label[order]))
    new_row = np.empty_like(by_class)
    new_row[by_class] = np.arange(len(by_class))
    rows = new_row[rows]
    ascending = np.argsort(rows)
    return Matching(
        gt=gt,
        dt=dt[order[by_class]],
        rank=rank[by_class],
        iou_thrs=thrs,
        area_ranges=ranges,
        max_dets=max_dets,
        rows=rows[ascending],
        matched=matched[ascending],
    )


def _match_by_turns(
    gt: GroundTruth,
    dt: Detections,
    group: np.ndarray,
    iou_thrs: np.ndarray,
    area_ranges: np.ndarray,
    progress: Progress,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield rows of ``dt`` that overlap an object of their group, and what each is matched to."""
    floors = np.minimum(iou_thrs, 1 - 1e-10)
    counts, region = _counting(gt, area_ranges).T, gt.region
    # Objects that someone has taken; crowds never are.
    taken = np.zeros((len(gt), len(iou_thrs), len(area_ranges)), bool)
    for end, row, nth, obj in pair_up(gt, group):
        iou = paired_iou(dt.boxes[row], gt.boxes[obj], region[obj])
        near = iou >= floors.min()
        row, nth, obj, iou = row[near], nth[near], obj[near], iou[near]

        rows, of_pair = np.unique(row, return_inverse=True)
        turn = position_in_run(group[rows])
        # Sorted by turn, then detection, then from the worst to the best object: of equal
        # IoUs COCO takes the later object.
        best_last = np.lexsort((nth, iou, of_pair, turn[of_pair]))
        of_pair, obj, iou = of_pair[best_last], obj[best_last], iou[best_last]
        matched = np.full((len(rows), *taken.shape[1:]), -1, np.int32)
        turn_starts = np.searchsorted(turn[of_pair], np.arange(turn.max(initial=-1) + 2))
        for start, until in pairwise(turn_starts):
            part, objects = of_pair[start:until], obj[start:until]
            free = (iou[start:until, None] >= floors)[..., None] & ~taken[objects]
            worth = np.arange(1, until - start + 1, dtype=np.int32)[:, None]
            worth = worth + _COUNTS * counts[objects]
            segment = np.flatnonzero(np.diff(part, prepend=-1))
            best = np.maximum.reduceat(np.where(free, worth[:, None], 0), segment)
            chosen = objects[(best & ~_COUNTS) - 1]
            hit = best > 0
            matched[part[segment]] = np.where(hit, chosen, -1)
            hit &= ~gt.crowd[chosen]
            _, t, a = np.nonzero(hit)
            taken[chosen[hit], t, a] = True
        yield rows, matched
        progress('matching', end, len(group))


def pair_up(
    gt: GroundTruth, group: np.ndarray
) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
    """Pair every detection with every object of its image and class, some groups at a time.

    Args:
        gt: the objects.
        group: ``(D,)`` ascending, ``image * K + label`` of each detection.

    Yields:
        How many detections are through, and for each pair the row of the detection, the place
        of the object in its group, and the object. Pairs come by row, then by place.
    """
    gt_group = gt.image * len(gt.class_ids) + gt.label
    gt_order = np.argsort(gt_group, kind='stable')
    first, stop = (np.searchsorted(gt_group[gt_order], group, side) for side in ('left', 'right'))
    num_pairs = np.concatenate([[0], np.cumsum(stop - first)])
    begins = np.flatnonzero(np.diff(group, prepend=-1))
    steps = np.searchsorted(num_pairs[begins], np.arange(0, num_pairs[-1], _PAIRS_AT_ONCE))
    cuts = np.unique([0, *np.append(begins, len(group))[steps], len(group)])
    for begin, end in pairwise(cuts):
        row = np.repeat(np.arange(begin, end), (stop - first)[begin:end])
        nth = np.arange(num_pairs[begin], num_pairs[end]) - num_pairs[row]
        yield int(end), row, nth, gt_order[first[row] + nth]


def position_in_run(values: np.ndarray) -> np.ndarray:
    """For sorted values: how many equal ones stand before each.

    >>> position_in_run(np.array([3, 3, 5, 5, 5])).tolist()
    [0, 1, 0, 1, 2]
    """
    return np.arange(len(values)) - np.searchsorted(values, values)


def _counting(gt: GroundTruth, area_ranges: np.ndarray) -> np.ndarray:
    """``(A, G)``: the objects that are no crowds and have a size in range."""
    low, high = area_ranges[:, :1], area_ranges[:, 1:]
    return ~gt.crowd & (gt.areas >= low) & (gt.areas <= high)
