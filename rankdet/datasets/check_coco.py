"""Checking an annotation file in COCO's format and the images it lists."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rankdet.commands import tool_line
from rankdet.untrusted import Refused, is_number, read_json, refuse_outside

from .check_report import CheckReport, Options, check_boxes, check_count, check_images, some
from .official import COCO_CATEGORY_IDS, COCO_CLASSES, COCO_SPLITS, VOC_SPLITS
from .voc_files import Unusable, read_list


class Source(NamedTuple):
    """Where an annotation file and its images come from.

    Attributes:
        annotations, images: What to do where they are missing.
        expected: Number of images; None if not known.
        annotated: Whether objects belong into the file; None if not known.
        listing: VOC's list of the images that belong into the file.
    """

    annotations: str = ''
    images: str = ''
    expected: int | None = None
    annotated: bool | None = None
    listing: Path | None = None


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
    options = ['--split', split, *['--images-only'] * withheld, '--out', ann_file.parent]
    convert = tool_line('dataset_converters/voc_to_coco', ann_file.parent, *options)
    return Source(
        annotations=f'make it from {voc.archive} with: {convert}',
        images=f'they are in {voc.archive}',
        expected=voc.images,
        annotated=not withheld,
        listing=ann_file.parent / 'ImageSets' / 'Main' / f'{split}.txt',
    )


def check_coco_file(
    report: CheckReport,
    ann_file: Path,
    image_folder: Path | None,
    *,
    classes: Sequence[str] | None = None,
    annotated: bool | None = None,
    options: Options | None = None,
) -> dict[str, Any] | None:
    """Check one annotation file and its images.

    Args:
        report: Gets a line on the part, and the problems.
        ann_file: The annotation file.
        image_folder: What its file names are relative to; None leaves the images alone.
        classes: Names that it must have, in the order of labels; None takes its own.
        annotated: Whether it must have objects; None: unless it is known to have none.
        options: How to check.

    Returns:
        dict: The content; None where it is not in COCO's format.
    """
    options = options or Options()
    source = official_source(ann_file)
    if annotated is None:
        annotated = source.annotated is not False
    if image_folder is not None and not image_folder.is_dir():
        report.stop(image_folder, _join('folder of images is missing', source.images))
    if not ann_file.is_file():
        report.stop(ann_file, _join('annotation file is missing', source.annotations))
        return None
    options.progress(f'reading {ann_file}', 0, 0)
    content = _read(report, ann_file, source)
    if content is None:
        return None
    images, annotations = content['images'], content.get('annotations', [])
    try:
        refuse_outside((image['file_name'] for image in images), str(ann_file))
    except Refused as error:
        report.stop(ann_file, str(error).removeprefix(f'{ann_file} '))
        return None
    report.parts.append(f'{ann_file}: {len(images)} images, {len(annotations)} objects')
    check_count(report, ann_file, len(images), source.expected, source.annotations, options)
    if annotated and not annotations:
        report.stop(ann_file, 'has no annotations')
    _check_classes(report, ann_file, content['categories'], classes)
    _check_ids(report, ann_file, content['categories'], classes)
    _check_listing(report, ann_file, images, source)
    _check_annotations(report, ann_file, content)
    if annotated and annotations:
        _check_usable(report, ann_file, annotations)
    if image_folder is None or not image_folder.is_dir():
        report.parts.append(f'{ann_file}: its images were not looked at')
    else:
        names = [image['file_name'] for image in images]
        sizes = [(image['width'], image['height']) for image in images]
        check_images(report, image_folder, names, sizes, source.images, options)
    return content


def _join(*parts: str) -> str:
    return '; '.join(part for part in parts if part)


def is_id(value: object) -> bool:
    return isinstance(value, (int, str)) and not isinstance(value, bool)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and value != ''


def _is_length(value: Any) -> bool:
    return is_number(value) and value > 0


def _is_anything(value: object) -> bool:  # looked at later
    return True


_FIELDS = {
    'images': dict(id=is_id, file_name=_is_name, width=_is_length, height=_is_length),
    'categories': dict(id=is_id, name=_is_name),
    'annotations': dict(
        id=is_id, image_id=is_id, category_id=is_id, bbox=_is_anything, area=_is_anything
    ),
}


def fault_of(entries: Any, key: str, needed: Mapping[str, Callable[[Any], bool]]) -> str | None:
    """What is wrong with a list of objects; None if nothing is.

    Args:
        entries: The list, whatever it is.
        key: Its name, for the message.
        needed: Fields that each object must have, and what tells a right value.
    """
    if not isinstance(entries, list):
        return _no_list(key)
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict):
            return f'entry {number} of {key} is no object'
        if lacking := [field for field in needed if field not in entry]:
            return f'entry {number} of {key} has no {", ".join(lacking)}'
        wrong = [f'{f} {entry[f]!r}' for f, is_right in needed.items() if not is_right(entry[f])]
        if wrong:
            return f'entry {number} of {key} has {", ".join(wrong)}'
    return None


def _no_list(key: str) -> str:
    return f'has no list of {key}: it is not in COCO format'


def _read(report: CheckReport, path: Path, source: Source) -> dict[str, Any] | None:
    """The content, or None where it is not even in the format."""
    try:
        content = read_json(path)
    except (Refused, OSError) as error:
        what = str(error).removeprefix(f'{path} ')
        report.stop(path, _join(what, source.annotations))
        return None
    for key, needed in _FIELDS.items():
        entries: Any = content.get(key) if isinstance(content, dict) else None
        if entries is None and key == 'annotations':
            continue
        fault = fault_of(entries, key, needed)
        if fault is None and not entries and key != 'annotations':
            fault = _no_list(key)
        if fault is not None:
            report.stop(path, fault)
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


def _check_ids(
    report: CheckReport, path: Path, categories: list[dict], classes: Sequence[str] | None
) -> None:
    """COCO's server knows the 80 classes by ids up to 90, not by 1 to 80."""
    if path.stem not in COCO_SPLITS or tuple(classes or ()) != COCO_CLASSES:
        return
    official = dict(zip(COCO_CLASSES, COCO_CATEGORY_IDS))
    other = [
        f'{c["name"]} {c["id"]} instead of {official[c["name"]]}'
        for c in categories
        if c['id'] != official.get(c['name'], c['id'])
    ]
    if other:
        report.stop(path, f'{len(other)} categories do not have the id of COCO: {some(other)}')


def _check_listing(report: CheckReport, path: Path, images: list[dict], source: Source) -> None:
    """A converted file must have the images of VOC's list, neither more nor less."""
    try:
        listed = set(read_list(source.listing)) if source.listing else None
    except (OSError, Unusable):
        return  # reported where the list is checked
    names = {Path(image['file_name']).stem for image in images}
    if listed is not None and listed != names:
        report.stop(
            path,
            f'does not have the images of {source.listing}: {len(listed - names)} are missing, '
            f'{len(names - listed)} are not in the list; {source.annotations}',
        )


def _check_usable(report: CheckReport, path: Path, annotations: list[dict]) -> None:
    """Whether MMDetection keeps any object: it drops those without area and ignores crowds.

    What the evaluation refuses is found here too: nobody wants to hear of it after a training.
    """
    areas = [a['area'] for a in annotations if not is_number(a['area'])]
    flags = {
        key: [a[key] for a in annotations if a.get(key, 0) not in (0, 1)]
        for key in ('iscrowd', 'difficult')
    }
    negative = [a['area'] for a in annotations if is_number(a['area']) and a['area'] < 0]
    for key, values, what in (
        ('area', areas, 'is not a finite number'),
        ('area', negative, 'is negative, which the evaluation refuses'),
        *((key, values, 'is not 0 or 1') for key, values in flags.items()),
    ):
        if values:
            report.stop(path, f'{key} of {len(values)} annotations {what}: {some(values)}')
    if areas or flags['iscrowd']:
        return
    flat = sum(a['area'] == 0 for a in annotations)
    if flat:
        what = f'{flat} of {len(annotations)} objects have no area > 0, and MMDetection drops them'
        report.warn(path, what)
    if not any(a['area'] > 0 and not a.get('iscrowd', 0) for a in annotations):
        report.stop(path, f'none of {len(annotations)} objects has an area > 0 and is no crowd')


def _check_annotations(report: CheckReport, path: Path, content: dict[str, Any]) -> None:
    images = {image['id']: image for image in content['images']}
    categories = {category['id'] for category in content['categories']}
    boxes, sizes, names = [], [], []
    wrong: dict[str, tuple[list, str]] = {
        'image_id': ([], 'are not in the file'),
        'category_id': ([], 'are not in the file'),
        'bbox': ([], 'are not four finite numbers'),
        'width or height': ([], 'is negative, which the evaluation refuses'),
    }
    for annotation in content.get('annotations', []):
        image, box = images.get(annotation['image_id']), annotation['bbox']
        if image is None:
            wrong['image_id'][0].append(annotation['image_id'])
        if annotation['category_id'] not in categories:
            wrong['category_id'][0].append(annotation['category_id'])
        if not (isinstance(box, list) and len(box) == 4 and all(map(is_number, box))):
            wrong['bbox'][0].append(box)
            continue
        x, y, w, h = box
        if w < 0 or h < 0:
            wrong['width or height'][0].append(box)
        elif image is not None:
            boxes.append((x, y, x + w, y + h))
            sizes.append((image['width'], image['height']))
            names.append(image['file_name'])
    for key, (values, what) in wrong.items():
        if values:
            report.stop(path, f'{key} of {len(values)} annotations {what}: {some(values)}')
    check_boxes(report, path, np.array(boxes, float), np.array(sizes, float), names)
    without = len(set(images) - {a['image_id'] for a in content.get('annotations', [])})
    if content.get('annotations') and without:
        report.parts.append(f'{path}: {without} images have no objects, training leaves them out')
