"""COCO's val2014 as minival, 5,000 images to measure on, and the rest, which is trained on."""

from __future__ import annotations

import json
import os
from pathlib import Path

from rankdet.untrusted import read_json

from .check_coco import fault_of, is_id, official_source
from .voc import Progress, write_whole

__all__ = ['split_val2014']


def split_val2014(
    val2014: str | os.PathLike,
    val2017: str | os.PathLike,
    out_dir: str | os.PathLike | None = None,
    *,
    progress: Progress = lambda stage, done, total: None,
) -> dict[Path, int]:
    """Write ``instances_minival2014.json`` and ``instances_valminusminival2014.json``.

    COCO publishes the 5,000 images of minival as val2017, under other file names and with the same
    ids. Here they keep the names and annotations of 2014.

    Args:
        val2014: ``instances_val2014.json``.
        val2017: ``instances_val2017.json``; only the ids of its images are used.
        out_dir: Folder of the two files; None is that of ``val2014``.
        progress: Called as ``progress(stage, done, total)`` before each file is read or written.

    Returns:
        dict: The number of images of each file.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is not in COCO format, with what is wrong and at which entry, or if
            val2017 has an image that val2014 lacks.
    """
    progress(f'reading {val2014}', 0, 0)
    content = _load(val2014)
    progress(f'reading {val2017}', 0, 0)
    ids = {image['id'] for image in _load(val2017)['images']}
    unknown = ids - {image['id'] for image in content['images']}
    if unknown:
        raise ValueError(
            f'{val2014} lacks {len(unknown)} images of {val2017}, such as {min(unknown, key=str)}'
        )
    out = Path(out_dir or Path(val2014).parent)
    written = {}
    for name, wanted in (('minival', True), ('valminusminival', False)):
        images = [image for image in content['images'] if (image['id'] in ids) == wanted]
        boxes = [a for a in content['annotations'] if (a['image_id'] in ids) == wanted]
        path = out / f'instances_{name}2014.json'
        progress(f'writing {path}', 0, 0)
        write_whole(path, json.dumps(dict(content, images=images, annotations=boxes)))
        written[path] = len(images)
    return written


def _load(path: str | os.PathLike) -> dict:
    content = read_json(path)
    if not isinstance(content, dict) or not {'images', 'annotations'} <= set(content):
        raise ValueError(f'{path} is not in COCO format: it has no images and annotations')
    for key, field in (('images', 'id'), ('annotations', 'image_id')):
        if fault := fault_of(content[key], key, {field: is_id}):
            source = official_source(Path(path)).annotations
            raise ValueError(f'{path} {fault}' + (source and f'; {source}'))
    return content
