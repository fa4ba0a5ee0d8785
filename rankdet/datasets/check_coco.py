"""Checking an annotation file in COCO's format and the images it lists."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .check_report import CheckReport, Options, check_boxes, check_images, some
from .official import COCO_SPLITS, VOC_SPLITS


class Source(NamedTuple):
    """Where an annotation file and its images come from.

    Attributes:
        annotations, images: What to do where they are missing.
        expected: Number of images; None if not known.
        annotated: Whether objects belong into the file; None if not known.
    """

    annotations: str = ''
    images: str = ''
    expected: int | None = None
    annotated: bool | None = None


def official_source(ann_file: Path) -> Source:
    """What is known of a file by its name: COCO's own, or converted from VOC."""
    coco = COCO_SPLITS.get(ann_file.stem)
    if coco is not None:
        made = coco.annotations_archive.startswith('no archive')
        return Source(
            annotations=f'{"" if made else "it is in "}{coco.annotations_archive}',
            images=f'they are in {coco.images_archive}',
            expected=coco.images,
            annotated=coco.annotated,
        )
    year, split = ann_file.parent.name, ann_file.stem.removeprefix('instances_')
    voc = VOC_SPLITS.get((year, split))
    if voc is None:
        return Source()
    withheld = (year, split) == ('VOC2012', 'test')
    command = (
        f'python tools/dataset_converters/voc_to_coco.py {ann_file.parent} --split {split}'
        f'{" --images-only" if withheld else ""} --out {ann_file.parent}'
    )
    return Source(
        annotations=f'make it from {voc.archive} with: {command}',
        images=f'they are in {voc.archive}',
        expected=voc.images,
        annotated=not withheld,
    )


def check_coco_file(
    report: CheckReport,
    ann_file: Path,
    image_folder: Path | None,
    *,
    classes: Sequence[str] | None = None,
    annotated: bool | None = None,
    options: Options | None = None,
) -> None:
    """Check one annotation file and its images.

    Args:
        report: Gets a line on the part, and the problems.
        ann_file: The annotation file.
        image_folder: What its file names are relative to; None leaves the images alone.
        classes: Names that it must have, in the order of labels; None takes its own.
        annotated: Whether it must have objects; None: unless it is known to have none.
        options: How to check.
    """
    options = options or Options()
    source = official_source(ann_file)
    if annotated is None:
        annotated = source.annotated is not False
    if image_folder is not None and not image_folder.is_dir():
        report.stop(image_folder, _join('folder of images is missing', source.images))
    if not ann_file.is_file():
        report.stop(ann_file, _join('annotation file is missing', source.annotations))
        return
    options.progress(f'reading {ann_file}', 0, 0)
    content = _read(report, ann_file, source)
    if content is None:
        return
    images, annotations = content['images'], content.get('annotations', [])
    report.parts.append(f'{ann_file}: {len(images)} images, {len(annotations)} objects')
    if source.expected not in (None, len(images)):
        report.warn(ann_file, f'has {len(images)} images, the official number is {source.expected}')
    if annotated and not annotations:
        report.stop(ann_file, 'has no annotations')
    _check_classes(report, ann_file, content['categories'], classes)
    _check_annotations(report, ann_file, content)
    if image_folder is not None and image_folder.is_dir():
        names = [image['file_name'] for image in images]
        sizes = [(image['width'], image['height']) for image in images]
        check_images(report, image_folder, names, sizes, source.images, options)


def _join(*parts: str) -> str:
    return '; '.join(part for part in parts if part)


def _read(report: CheckReport, path: Path, source: Source) -> dict[str, Any] | None:
    """The content, or None where it is not even in the format."""
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, OSError) as error:
        what = f'is no JSON, perhaps cut short ({path.stat().st_size} bytes: {error})'
        report.stop(path, _join(what, source.annotations))
        return None
    fields = {
        'images': ('id', 'file_name', 'width', 'height'),
        'categories': ('id', 'name'),
        'annotations': ('id', 'image_id', 'category_id', 'bbox', 'area'),
    }
    for key, needed in fields.items():
        entries = content.get(key) if isinstance(content, dict) else None
        if entries is None and key == 'annotations':
            continue
        if not isinstance(entries, list) or not (entries or key == 'annotations'):
            report.stop(path, f'has no list of {key}: it is not in COCO format')
            return None
        for number, entry in enumerate(entries):
            lacking = [f for f in needed if not isinstance(entry, dict) or f not in entry]
            if lacking:
                report.stop(path, f'entry {number} of {key} has no {", ".join(lacking)}')
                return None
        ids = [entry['id'] for entry in entries]
        if len(set(ids)) < len(ids):
            report.stop(path, f'{len(ids) - len(set(ids))} ids of {key} occur more than once')
    return content


def _check_classes(
    report: CheckReport, path: Path, categories: list[dict], classes: Sequence[str] | None
) -> None:
    """MMDetection numbers labels by the file's order and names them in the config's order."""
    if classes is None:
        return
    names = [category['name'] for category in categories]
    missing = [name for name in classes if name not in names]
    if missing:
        report.stop(path, f'has no category {some(missing)}; it has {some(names, 5)}')
    elif [name for name in names if name in classes] != list(classes):
        report.stop(
            path,
            'has its categories in another order than the classes, so that labels would get wrong '
            f'names: {some(names, 5)} against {some(list(classes), 5)}',
        )
    further = [name for name in names if name not in classes]
    if further:
        report.warn(path, f'has categories that are not used: {some(further)}')


def _check_annotations(report: CheckReport, path: Path, content: dict[str, Any]) -> None:
    images = {image['id']: image for image in content['images']}
    categories = {category['id'] for category in content['categories']}
    boxes, sizes, names = [], [], []
    wrong = dict(image_id=[], category_id=[], bbox=[])
    for annotation in content.get('annotations', []):
        image, box = images.get(annotation['image_id']), annotation['bbox']
        if image is None:
            wrong['image_id'].append(annotation['image_id'])
        if annotation['category_id'] not in categories:
            wrong['category_id'].append(annotation['category_id'])
        try:
            x, y, w, h = map(float, box)
        except (TypeError, ValueError):
            x = y = w = h = math.nan
        if not math.isfinite(x + y + w + h):
            wrong['bbox'].append(box)
        elif image is not None:
            boxes.append((x, y, x + w, y + h))
            sizes.append((image['width'], image['height']))
            names.append(image['file_name'])
    for key, values in wrong.items():
        if values:
            what = 'are not four finite numbers' if key == 'bbox' else 'are not in the file'
            report.stop(path, f'{key} of {len(values)} annotations {what}: {some(values)}')
    check_boxes(report, path, np.array(boxes, float), np.array(sizes, float), names)
    without = len(images) - len({a['image_id'] for a in content.get('annotations', [])})
    if content.get('annotations') and without:
        report.parts.append(f'{path}: {without} images have no objects, training leaves them out')
