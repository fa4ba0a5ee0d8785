"""Tiny made-up data in the layout and with the class names of VOC and COCO.

Coloured boxes on noise, one colour per class: enough to run every config of the papers from end to
end on a laptop, and nothing that a result could be reported on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .official import COCO_CATEGORY_IDS, COCO_CLASSES, COCO_SPLITS, VOC_CLASSES, VOC_SPLITS
from .voc import voc_to_coco

__all__ = ['make_tiny_coco', 'make_tiny_voc']

MIN_IMAGES = 4  # from that on every class of VOC occurs
_OBJECTS = 5  # of an image
_VOC_XML = (
    '<annotation><folder>{year}</folder><filename>{stem}.jpg</filename>'
    '<size><width>{width}</width><height>{height}</height><depth>3</depth></size>'
    '<segmented>0</segmented>{objects}</annotation>\n'
)
_VOC_OBJECT = (
    '<object><name>{name}</name><pose>Unspecified</pose><truncated>0</truncated>'
    '<difficult>{difficult:d}</difficult><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin>'
    '<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>'
)


class _Object(NamedTuple):
    label: int
    box: tuple[int, int, int, int]  # x, y, width, height in pixels from the corner
    special: bool  # difficult in VOC, a crowd in COCO


def make_tiny_voc(root: str | os.PathLike, *, images: int = 8, seed: int = 0) -> Path:
    """Write ``VOC2007`` and ``VOC2012`` as VOC's development kit has them.

    Lists trainval, train, val and test for both years; as in the official archives, VOC2012's test
    has no annotations. Also converts them to ``VOC2007/instances_trainval.json`` and so on, the
    files that the configs want. Images are landscape and portrait in turn; one object in seven is
    difficult.

    Args:
        root: The devkit's folder, which must not have a VOC2007 or VOC2012 yet.
        images: Number of images in trainval, and in test, of each year; at least 4.
        seed: The same seed gives the same pictures.

    Returns:
        Path: ``root``.

    Raises:
        ValueError: If ``images`` is too small.
        FileExistsError: If there is data already.
    """
    _check_images(images)
    root = Path(root)
    rng = np.random.default_rng(seed)
    for year in sorted({year for year, _ in VOC_SPLITS}):
        folder = root / year
        for part in ('Annotations', 'ImageSets/Main', 'JPEGImages'):
            (folder / part).mkdir(parents=True, exist_ok=part != 'Annotations')
        prefix = '' if year == 'VOC2007' else '2008_'
        stems = [f'{prefix}{number:06d}' for number in range(1, 2 * images + 1)]
        lists = dict(
            trainval=stems[:images],
            train=stems[: images // 2],
            val=stems[images // 2 : images],
            test=stems[images:],
        )
        for split, members in lists.items():
            text = ''.join(f'{stem}\n' for stem in members)
            (folder / 'ImageSets/Main' / f'{split}.txt').write_text(text)
        for number, stem in enumerate(stems):
            pixels, objects = _scene(rng, number, len(VOC_CLASSES))
            _save(folder / 'JPEGImages' / f'{stem}.jpg', pixels)
            if year != 'VOC2012' or stem not in lists['test']:
                (folder / 'Annotations' / f'{stem}.xml').write_text(
                    _voc_xml(year, stem, pixels.shape, objects)
                )
        _convert(folder)
    return root


def make_tiny_coco(
    root: str | os.PathLike, *, names: str = '2017', images: int = 8, seed: int = 0
) -> Path:
    """Write a COCO folder: all 80 categories with their ids, training, minival and test-dev.

    One object in seven is a crowd. test-dev has no annotations.

    Args:
        root: Folder that gets ``annotations/`` and the folders of images.
        names: '2017', or '2014' for train2014, valminusminival2014, minival2014 and test-dev2015.
        images: Number of images in each annotation file, at least 4.
        seed: The same seed gives the same pictures.

    Returns:
        Path: ``root``.

    Raises:
        ValueError: If an option is out of range.
        FileExistsError: If there is data already.
    """
    _check_images(images)
    parts = {
        '2017': ('instances_train2017', 'instances_val2017', 'image_info_test-dev2017'),
        '2014': (
            *('instances_train2014', 'instances_valminusminival2014', 'instances_minival2014'),
            'image_info_test-dev2015',
        ),
    }
    if names not in parts:
        raise ValueError(f'names must be one of {list(parts)}, got {names!r}')
    root = Path(root)
    if any((root / COCO_SPLITS[part].folder).exists() for part in parts[names]):
        raise FileExistsError(f'{root} holds images already')
    rng = np.random.default_rng(seed)
    for nth, part in enumerate(parts[names]):
        ids = range(1 + nth * images, 1 + (nth + 1) * images)
        _write_coco(root, part, ids, rng)
    return root


def _check_images(images: int) -> None:
    if isinstance(images, bool) or not isinstance(images, int) or images < MIN_IMAGES:
        raise ValueError(f'images must be an integer of at least {MIN_IMAGES}, got {images!r}')


def _scene(rng: np.random.Generator, number: int, classes: int) -> tuple[np.ndarray, list[_Object]]:
    """Pixels and objects; over the numbers every class takes its turn."""
    height, width = (96, 128) if number % 2 else (144, 96)
    pixels = rng.integers(90, 130, (height, width, 3), np.uint8)
    objects = []
    for nth in range(number * _OBJECTS, (number + 1) * _OBJECTS):
        w, h = (int(rng.integers(24, side // 2)) for side in (width, height))
        x, y = int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1))
        label = nth % classes
        pixels[y : y + h, x : x + w] = np.random.default_rng(label).integers(0, 256, 3)
        objects.append(_Object(label, (x, y, w, h), nth % 7 == 6))
    return pixels, objects


def _save(path: Path, pixels: np.ndarray) -> None:
    from PIL import Image

    Image.fromarray(pixels).save(path, quality=95)


def _voc_xml(year: str, stem: str, shape: Sequence[int], objects: Sequence[_Object]) -> str:
    lines = []
    for label, (x, y, w, h), special in objects:  # first and last pixel, counted from 1
        corners = dict(x1=x + 1, y1=y + 1, x2=x + w, y2=y + h)
        lines.append(_VOC_OBJECT.format(name=VOC_CLASSES[label], difficult=special, **corners))
    height, width, _ = shape
    return _VOC_XML.format(year=year, stem=stem, width=width, height=height, objects=''.join(lines))


def _convert(folder: Path) -> None:
    """The COCO files that the configs want."""
    for split in ('trainval', 'test'):
        images_only = (folder.name, split) == ('VOC2012', 'test')
        out = folder / f'instances_{split}.json'
        voc_to_coco(folder, out, split=split, classes=VOC_CLASSES, images_only=images_only)


def _write_coco(root: Path, part: str, ids: range, rng: np.random.Generator) -> None:
    split = COCO_SPLITS[part]
    prefix = '' if split.folder.endswith('2017') else f'COCO_{split.folder}_'
    categories = [dict(id=i, name=name) for i, name in zip(COCO_CATEGORY_IDS, COCO_CLASSES)]
    content = dict(images=[], categories=categories)
    if split.annotated:
        content['annotations'] = []
    for folder in (root / 'annotations', root / split.folder):
        folder.mkdir(parents=True, exist_ok=True)
    for id in ids:
        pixels, objects = _scene(rng, id, len(COCO_CLASSES))
        name = f'{prefix}{id:012d}.jpg'
        _save(root / split.folder / name, pixels)
        height, width, _ = pixels.shape
        content['images'].append(dict(id=id, file_name=name, width=width, height=height))
        for nth, (label, (x, y, w, h), special) in enumerate(objects if split.annotated else ()):
            content['annotations'].append(
                dict(
                    id=id * _OBJECTS + nth,
                    image_id=id,
                    category_id=COCO_CATEGORY_IDS[label],
                    bbox=[x, y, w, h],
                    area=w * h,
                    iscrowd=int(special),
                    segmentation=[[x, y, x + w, y, x + w, y + h, x, y + h]],
                )
            )
    (root / 'annotations' / f'{part}.json').write_text(json.dumps(content))
