"""Ground truth and detections in COCO's format, checked once and held as flat arrays."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np

from rankdet.untrusted import read_json

#: Greatest number of a box: areas, their sums and all distances are then finite.
_GREATEST = 1e150


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """Objects of a data set; images are numbered by ascending id, classes as they are listed.

    MMDetection numbers the labels of a COCO file in the same way.

    Attributes:
        image_ids, file_names: of the I images.
        class_ids, class_names: of the K classes that are evaluated.
        image, label: ``(G,)`` index into the images and classes.
        boxes: ``(G, 4)`` float64 ``x, y, width, height``.
        areas: ``(G,)`` the annotated area, which decides small, medium or large.
        crowd: ``(G,)`` objects that are never missed and may absorb any number of detections.
        difficult: ``(G,)`` VOC's difficult objects. A crowd that is one is a single object in a
            box, not a region of many: detections overlap it by their ordinary IoU.
    """

    image_ids: tuple
    file_names: tuple[str, ...]
    class_ids: tuple
    class_names: tuple[str, ...]
    image: np.ndarray
    label: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray
    crowd: np.ndarray
    difficult: np.ndarray

    def __len__(self) -> int:
        return len(self.label)

    @property
    def region(self) -> np.ndarray:
        """``(G,)`` crowds whose overlap is the share of the detection that lies inside."""
        return self.crowd & ~self.difficult

    @property
    def objects_per_class(self) -> np.ndarray:
        """``(K,)`` number of objects that count, crowds left out."""
        return np.bincount(self.label[~self.crowd], minlength=len(self.class_ids))

    def on_images(self, ids: Collection) -> GroundTruth:
        """The part of it on the images of these ids; classes keep their labels."""
        kept = [index for index, id in enumerate(self.image_ids) if id in ids]
        number = np.full(len(self.image_ids), -1)
        number[kept] = range(len(kept))
        image = number[self.image]
        inside = image >= 0
        return replace(
            self,
            image_ids=tuple(self.image_ids[index] for index in kept),
            file_names=tuple(self.file_names[index] for index in kept),
            image=image[inside],
            label=self.label[inside],
            boxes=self.boxes[inside],
            areas=self.areas[inside],
            crowd=self.crowd[inside],
            difficult=self.difficult[inside],
        )


@dataclass(frozen=True, eq=False)
class Detections:
    """Scored boxes, numbered as the :class:`GroundTruth` they were read for.

    Attributes:
        image, label: ``(D,)`` index into the images and classes of the ground truth.
        boxes: ``(D, 4)`` float64 ``x, y, width, height``.
        scores: ``(D,)`` float64.
    """

    image: np.ndarray
    label: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, index: np.ndarray | slice) -> Detections:
        return replace(
            self,
            image=self.image[index],
            label=self.label[index],
            boxes=self.boxes[index],
            scores=self.scores[index],
        )


def load_ground_truth(
    source: str | os.PathLike | Mapping,
    *,
    classes: Sequence[str] | None = None,
    allow_empty: bool = False,
) -> GroundTruth:
    """Read a COCO annotation file.

    A missing ``iscrowd`` is 0 and a missing ``area`` is width times height. As in pycocotools
    the field ``ignore`` is not read: what is to be ignored is marked ``iscrowd``.

    One field more than in pycocotools is read, ``difficult``, which the converter of VOC writes
    beside ``iscrowd``. In VOC's development kit such an object is ignored, and so is every
    detection that overlaps it enough by IoU. pycocotools, on the same file, takes it for a crowd
    and therefore the share of the detection inside it for the overlap, so that any small box on a
    large difficult object is ignored where the kit counts a false positive. Here it is as in the
    kit. Without ``iscrowd`` the field changes nothing.

    Args:
        source: path of the JSON file, or its content as a dict.
        classes: names of the classes to evaluate; None takes all of the file.
        allow_empty: accept a file without annotations, such as COCO's test-dev.

    Raises:
        ValueError: what the file holds is no usable ground truth; the message says where.
    """
    if isinstance(source, Mapping):
        name, content = 'ground truth', source
    else:
        name, content = f'ground truth {os.fspath(source)!r}', read_json(source, 'ground truth')
    if not isinstance(content, Mapping) or not {'images', 'categories'} <= set(content):
        raise ValueError(
            f'{name} must be an object with images, categories and annotations, got '
            + (
                f'keys {sorted(content)}'
                if isinstance(content, Mapping)
                else type(content).__name__
            )
        )
    annotations = content.get('annotations') or ()
    if not annotations and not allow_empty:
        raise ValueError(
            f'{name} has no annotations, so nothing can be measured on it; results on a test '
            'set whose annotations are withheld are packed for its server instead'
        )
    images = _by_id(content['images'], f'{name}: images')
    try:
        images = dict(sorted(images.items()))
    except TypeError:
        kinds = sorted({type(id).__name__ for id in images})
        raise ValueError(f'{name}: images: ids must all be of one kind, got {kinds}') from None
    categories = _by_id(content['categories'], f'{name}: categories')
    if unnamed := [id for id, category in categories.items() if 'name' not in category]:
        raise ValueError(f'{name}: categories must have a name each, {unnamed[:5]} have none')
    names = [category['name'] for category in categories.values()]
    _strings(names, f'{name}: categories: name')
    file_names = [image.get('file_name', '') for image in images.values()]
    _strings(file_names, f'{name}: images: file_name')
    if twice := [n for n, times in Counter(names).items() if times > 1]:
        raise ValueError(f'{name}: categories must have different names, {twice[:5]} occur again')
    if missing := [c for c in classes or () if c not in names]:
        raise ValueError(f'classes {missing} are not in {name}, which has {sorted(names)}')
    kept = [id for id, c in categories.items() if classes is None or c['name'] in classes]
    label_of = dict.fromkeys(categories, -1) | {id: label for label, id in enumerate(kept)}
    image_of = {id: index for index, id in enumerate(images)}

    image = _indices(annotations, 'image_id', image_of, f'{name}: annotations')
    label = _indices(annotations, 'category_id', label_of, f'{name}: annotations')
    boxes = _boxes(annotations, f'{name}: annotations')
    size = (boxes[:, 2] * boxes[:, 3]).tolist()
    areas = _numbers(
        [a.get('area', s) for a, s in zip(annotations, size)],
        f'{name}: annotations: area must be a number',
    )
    wrong = ~np.isfinite(areas) | (areas < 0)
    _refuse(wrong, areas, f'{name}: annotations: area must be finite and >= 0')
    crowd, difficult = (_flags(annotations, key, name) for key in ('iscrowd', 'difficult'))
    keep = label >= 0
    return GroundTruth(
        image_ids=tuple(images),
        file_names=tuple(file_names),
        class_ids=tuple(kept),
        class_names=tuple(categories[id]['name'] for id in kept),
        image=image[keep],
        label=label[keep],
        boxes=boxes[keep],
        areas=areas[keep],
        crowd=crowd[keep],
        difficult=difficult[keep],
    )


def load_detections(source: str | os.PathLike | Iterable[Mapping], gt: GroundTruth) -> Detections:
    """Read a COCO result file: a list of ``image_id, category_id, bbox, score``.

    An empty list is a detector that found nothing: it is read as such, and every measure then
    has its documented value (AP 0, oLRP 1, rank correlation NaN).

    Args:
        source: path of the JSON file, or its content as a list.
        gt: ground truth that the results belong to.

    Raises:
        ValueError: an image or class that ``gt`` does not have, a score or box that is no
            number or not finite, a box whose area is not finite, a negative width or height, a
            missing field, or no JSON list.
    """
    if isinstance(source, (str, os.PathLike)):
        name, content = f'results {os.fspath(source)!r}', read_json(source, 'results')
    else:
        name, content = 'results', source
    if isinstance(content, Mapping) or not isinstance(content, Iterable):
        raise ValueError(
            f'{name} must be a list of detections with image_id, category_id, bbox and score, '
            f'got {type(content).__name__}'
        )
    rows = content if isinstance(content, list) else list(content)
    image_of = {id: index for index, id in enumerate(gt.image_ids)}
    label_of = {id: index for index, id in enumerate(gt.class_ids)}
    image = _indices(rows, 'image_id', image_of, name)
    label = _indices(rows, 'category_id', label_of, name)
    boxes = _boxes(rows, name)
    rule = f'{name}: every detection must have a number as score'
    if not all('score' in row for row in rows):
        raise ValueError(rule)
    scores = _numbers([row['score'] for row in rows], rule)
    return check_detections(Detections(image, label, boxes, scores), name)


def check_detections(dt: Detections, name: str = 'results') -> Detections:
    """Return ``dt`` if all its scores are finite and no box is negative or without finite area."""
    _refuse(~np.isfinite(dt.scores), dt.scores, f'{name}: score must be finite')
    _check_boxes(dt.boxes, name)
    return dt


def _by_id(entries: Any, name: str) -> dict:
    """The entries by their ids, which must be there and unique."""
    try:
        ids = [entry['id'] for entry in entries]
        unique = set(ids)
    except (TypeError, KeyError):
        raise ValueError(
            f'{name} must be a list of objects with an id that is a number or a string'
        ) from None
    if len(unique) != len(ids):
        twice = next(id for id, times in Counter(ids).items() if times > 1)
        raise ValueError(f'{name}: id {twice!r} occurs more than once')
    return {entry['id']: entry for entry in entries}


def _indices(rows: Sequence[Mapping], key: str, index_of: Mapping, name: str) -> np.ndarray:
    try:
        found = np.fromiter((index_of.get(row[key], -2) for row in rows), np.int64, len(rows))
    except (KeyError, TypeError):
        raise ValueError(f'{name}: every entry must be an object with {key}') from None
    if (found == -2).any():
        unknown = [rows[i][key] for i in np.flatnonzero(found == -2)]
        some = list(dict.fromkeys(unknown))[:5]
        raise ValueError(
            f'{name}: {len(unknown)} of {len(rows)} entries have a {key} that the ground truth '
            f'does not know, such as {some}; it has {len(index_of)}, such as {list(index_of)[:5]}'
        )
    return found


def _boxes(rows: Sequence[Mapping], name: str) -> np.ndarray:
    try:
        corners = [row['bbox'] for row in rows]
        lengths = set(map(len, corners))
    except (KeyError, TypeError):
        lengths = {0}
    rule = f'{name}: every entry must have a bbox [x, y, width, height] of numbers'
    if not lengths <= {4}:
        raise ValueError(rule)
    boxes = _numbers(list(chain.from_iterable(corners)), rule).reshape(-1, 4)
    _check_boxes(boxes, name)
    return boxes


def _numbers(values: list, rule: str) -> np.ndarray:
    """Values as float64 if all are numbers; numpy would take True and '12' for some, too."""
    for kind in set(map(type, values)):
        if not issubclass(kind, (int, float, np.integer, np.floating)) or kind is bool:
            first = next(n for n, value in enumerate(values) if type(value) is kind)
            raise ValueError(f'{rule}, got {values[first]!r}')
    try:
        return np.array(values, dtype=np.float64)
    except OverflowError:  # an integer of more than 308 digits
        raise ValueError(f'{rule} that fits double precision') from None


def _flags(annotations: Sequence[Mapping], key: str, name: str) -> np.ndarray:
    values = [a.get(key, 0) for a in annotations]
    if bad := [value for value in values if value not in (0, 1)]:
        raise ValueError(f'{name}: {key} must be 0 or 1, got {bad[0]!r}')
    return np.array(values, dtype=bool)


def _strings(values: Sequence, what: str) -> None:
    if bad := [value for value in values if not isinstance(value, str)]:
        raise ValueError(f'{what} must be a string, got {bad[0]!r}')


def _check_boxes(boxes: np.ndarray, name: str) -> None:
    _refuse(~np.isfinite(boxes).all(1), boxes, f'{name}: bbox must be finite')
    _refuse(
        (np.abs(boxes) > _GREATEST).any(1),
        boxes,
        f'{name}: numbers of a bbox must be at most {_GREATEST:g}, or its area is not finite',
    )
    _refuse((boxes[:, 2:] < 0).any(1), boxes, f'{name}: width and height of a bbox must be >= 0')


def _refuse(bad: np.ndarray | np.bool_, values: np.ndarray, rule: str) -> None:
    if bad.any():
        first = int(bad.argmax())
        raise ValueError(
            f'{rule}, got {values[first].tolist()} at entry {first} ({bad.sum()} such)'
        )
