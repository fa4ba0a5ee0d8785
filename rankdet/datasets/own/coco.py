"""COCO JSON as tools export it: one file or one a split, images beside it or anywhere below."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

from rankdet.untrusted import read_json
from rankdet.untrusted.limits import read_limited

from ..voc import Finding, Record
from ..voc_files import Unusable, clip_box, decode_size
from .listing import Folder, Job, Listing, split_name

_PARTS = ('images', 'annotations', 'categories')
_MOST_FILES = 64  # of other JSON that is looked into: labelme, for one, writes a file an image


def is_coco(folder: Folder) -> bool:
    return bool(_annotation_files(folder))


def list_coco(folder: Folder) -> Listing:
    """Every image of every annotation file; the file's name or folder says in which split it is.

    Where files named ``instances_*`` are there, as in COCO's own archives, others are left alone.
    """
    listing = Listing()
    by_name: dict[str, list[Path]] = {}
    for path in folder.images:
        by_name.setdefault(path.name, []).append(path)
    for path in _annotation_files(folder):
        content = _read(path)
        names = _categories(path, content['categories'])
        listing.classes += tuple(n for n in names.values() if n not in listing.classes)
        annotations = _by_image(listing, path, content)
        split = split_name(path.stem) or folder.split_of(path)
        for image in content['images']:
            file_name = image['file_name'].replace('\\', '/')
            found = _find(folder, by_name, file_name, path)
            own = split or (folder.split_of(found[0]) if found else None)
            read = partial(_read_record, path, image, found, annotations[image['id']], names)
            listing.jobs.append(Job(own, path, read))
    return listing


def _annotation_files(folder: Folder) -> list[Path]:
    files = folder.ending('.json')
    named = [path for path in files if path.stem.startswith('instances_')]
    return [path for path in named or files[:_MOST_FILES] if _looks_like_coco(path)]


def _looks_like_coco(path: Path) -> bool:
    """Whether the three keys occur: whether the file is right is a question for later.

    One that is larger than what is read might be COCO's as well: :class:`Refused` passes.
    """
    try:
        content = read_limited(path, 'RANKDET_MAX_JSON_MB') if path.stat().st_size else b''
    except OSError:
        return False
    return all(f'"{key}"'.encode() in content for key in _PARTS)


def _read(path: Path) -> dict[str, Any]:
    content = read_json(path)
    for key in _PARTS:
        entries = content.get(key) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
            raise ValueError(f'{path}: {key} is no list of entries: it is not in COCO format')
    for number, image in enumerate(content['images']):
        if not _is_id(image.get('id')) or not isinstance(image.get('file_name'), str):
            raise ValueError(f'{path}: entry {number} of images has no id or no file_name')
    ids = [image['id'] for image in content['images']]
    if len(set(ids)) < len(ids):
        raise ValueError(f'{path}: {len(ids) - len(set(ids))} ids of images occur more than once')
    return content


def _categories(path: Path, categories: list[dict]) -> dict[int | str, str]:
    """Names by id, in the order of ids."""
    names: dict[Any, str] = {}
    for number, category in enumerate(categories):
        id, name = category.get('id'), category.get('name')
        if not _is_id(id) or not isinstance(name, str) or not name.strip() or id in names:
            raise ValueError(
                f'{path}: entry {number} of categories has no name or no id of its own'
            )
        names[id] = name.strip()
    return dict(sorted(names.items(), key=lambda item: (isinstance(item[0], str), item[0])))


def _by_image(listing: Listing, path: Path, content: dict[str, Any]) -> dict[Any, list[dict]]:
    found: dict[Any, list[dict]] = {image['id']: [] for image in content['images']}
    for number, annotation in enumerate(content['annotations']):
        image = annotation.get('image_id')
        if _is_id(image) and image in found:
            found[image].append(annotation)
        else:
            reason = f'image_id {image!r:.40} is not among the images'
            listing.findings.append(
                Finding('object skipped', _where(path, annotation, number), reason)
            )
    return found


def _find(folder: Folder, by_name: dict[str, list[Path]], name: str, file: Path) -> list[Path]:
    """The files below the folder that fit most parts of a name, wherever it says they are.

    What is found is among the folder's files: a name cannot lead out of it.
    """
    parts = name.split('/')
    fits = by_name.get(parts[-1], [])
    for count in range(2, len(parts) + 1):
        better = [path for path in fits if list(path.parts[-count:]) == parts[-count:]]
        if not better:
            break
        fits = better
    wanted = split_name(file.stem)
    in_split = [path for path in fits if wanted and folder.split_of(path) == wanted]
    return in_split if len(fits) > 1 and in_split else folder.nearest(fits, file)


def _read_record(
    path: Path, image: dict, found: list[Path], annotations: list[dict], names: dict[Any, str]
) -> Record:
    record = Record()
    where = f'{path}: image {image["file_name"]}'
    try:
        if len(found) != 1:
            others = ', '.join(map(str, found[:3]))
            raise Unusable(f'several files fit: {others}' if found else 'image is missing')
        size = decode_size(found[0])
        stated = (image.get('width', size[0]), image.get('height', size[1]))
        if stated != size:
            raise Unusable(
                f'is {size[0]} x {size[1]}, not {stated[0]!r:.20} x {stated[1]!r:.20} as stated'
            )
    except Unusable as problem:
        record.findings.append(Finding('image skipped', where, str(problem)))
        return record
    record.path, record.size = found[0], size
    for number, annotation in enumerate(annotations):
        where = f'{_where(path, annotation, number)} ({image["file_name"]})'
        try:
            category = annotation.get('category_id')
            if not _is_id(category) or category not in names:
                raise Unusable(f'category_id {category!r:.40} is not among the categories')
            box = _corners(annotation.get('bbox'))
            clipped = clip_box(box, size)
        except Unusable as problem:
            record.findings.append(Finding('object skipped', where, str(problem)))
            continue
        if max(abs(a - b) for a, b in zip(box, clipped)) > 1:
            record.findings.append(Finding('object clipped', where, f'{box} to {clipped}'))
        crowd = bool(annotation.get('iscrowd') or annotation.get('ignore'))
        record.objects.append((names[category], clipped, crowd))
    return record


def _corners(bbox: Any) -> list[float]:
    try:
        x, y, w, h = (float(value) for value in bbox)
    except (TypeError, ValueError, OverflowError):
        raise Unusable(f'bbox {bbox!r:.80} is not four numbers') from None
    if not all(map(math.isfinite, (x, y, w, h))):
        raise Unusable(f'bbox {bbox} is not finite')
    if w <= 0 or h <= 0:
        raise Unusable(f'bbox {bbox} has no area')
    return [x, y, x + w, y + h]


def _where(path: Path, annotation: dict, number: int) -> str:
    return f'{path}: annotation {annotation.get("id", f"number {number}")!r:.40}'


def _is_id(value: object) -> bool:
    return isinstance(value, (int, str)) and not isinstance(value, bool)
