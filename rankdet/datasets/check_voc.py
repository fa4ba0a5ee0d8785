"""Checking a year of VOC's development kit: lists, annotations, images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rankdet.untrusted import leaves_folder

from .check_report import CheckReport, Options, check_boxes, check_count, check_images, some
from .official import VOC_CLASSES, VOC_SPLITS
from .voc_files import Unusable, parse_xml, read_box, read_list

_FOLDERS = ('Annotations', 'ImageSets/Main', 'JPEGImages')


def check_voc_split(
    report: CheckReport,
    year: Path,
    split: str,
    *,
    classes: Sequence[str] = VOC_CLASSES,
    options: Options | None = None,
) -> None:
    """Check what a list in ``ImageSets/Main`` names.

    Args:
        report: Gets a line on the part, and the problems.
        year: Folder such as ``VOCdevkit/VOC2007``.
        split: Name of the list.
        classes: Names that may occur.
        options: How to check.
    """
    options = options or Options()
    official = VOC_SPLITS.get((year.name, split))
    archive = f'it is in {official.archive}' if official else 'unpack it again'
    lacking = [part for part in _FOLDERS if not (year / part).is_dir()]
    if lacking:
        report.stop(year, f'has no {some(lacking)}; {archive}')
        return
    listing = year / 'ImageSets' / 'Main' / f'{split}.txt'
    if not listing.is_file():
        report.stop(listing, f'list of images is missing; {archive}')
        return
    try:
        stems = read_list(listing)
    except Unusable as problem:
        report.stop(listing, f'{problem}; {archive}')
        return
    if odd := [stem for stem in stems if '/' in stem or '\\' in stem or leaves_folder(stem)]:
        report.stop(listing, f'has {len(odd)} names that are no plain ones: {some(odd)}; {archive}')
        return
    if twice := [stem for stem, times in Counter(stems).items() if times > 1]:
        report.stop(listing, f'names {len(twice)} images more than once: {some(twice)}; {archive}')
    if official:
        check_count(report, listing, len(stems), official.images, archive, options)
    sizes: list[tuple[int, int] | None] = [None] * len(stems)
    objects = 'annotations withheld'
    if (year.name, split) != ('VOC2012', 'test'):
        sizes, objects = _check_annotations(report, year, stems, classes, archive, options)
    report.parts.append(f'{listing}: {len(stems)} images, {objects}')
    names = [f'{stem}.jpg' for stem in stems]
    # The converter takes the size of the image, so that a wrong one in the XML does no harm.
    images = year / 'JPEGImages'
    check_images(report, images, names, sizes, archive, options, sizes_stop=False)


def _check_annotations(
    report: CheckReport,
    year: Path,
    stems: Sequence[str],
    classes: Sequence[str],
    archive: str,
    options: Options,
) -> tuple[list[tuple[int, int] | None], str]:
    """Sizes of the images as annotated, and a count of the objects."""
    folder = year / 'Annotations'
    sizes: list[tuple[int, int] | None] = []
    boxes, box_sizes, names = [], [], []
    missing, damaged, unusable = [], [], []
    unknown: Counter[str] = Counter()
    difficult = 0
    for done, stem in enumerate(stems, 1):
        options.progress(f'reading {folder}', done, len(stems))
        sizes.append(None)
        xml = folder / f'{stem}.xml'
        if not xml.is_file():
            missing.append(xml.name)
            continue
        try:
            tree = parse_xml(xml)
            size = int(tree.findtext('size/width', '0')), int(tree.findtext('size/height', '0'))
        except (Unusable, ValueError) as problem:
            damaged.append(f'{xml.name} ({problem})')
            continue
        sizes[-1] = size if min(size) > 0 else None
        for element in tree.findall('object'):
            name = element.findtext('name', '').strip()
            if name not in classes:
                unknown[name] += 1
            difficult += element.findtext('difficult', '0').strip() == '1'
            try:
                boxes.append(read_box(element, zero_based=False))
            except Unusable as problem:
                unusable.append(f'{xml.name} ({problem})')
                continue
            box_sizes.append(sizes[-1] or (np.inf, np.inf))
            names.append(stem)
    for found, what in ((missing, 'missing'), (damaged, 'damaged')):
        if found:
            what = f'{len(found)} of {len(stems)} annotations are {what}: {some(found)}'
            report.stop(folder, f'{what}; {archive}')
    if unusable:
        report.warn(folder, f'{len(unusable)} objects cannot be used: {some(unusable)}')
    if unknown:
        found = [f'{name!r} ({number} x)' for name, number in unknown.most_common()]
        report.stop(folder, f'class {some(found)} is not among {some(list(classes), 20)}')
    if not boxes:
        report.stop(folder, f'the {len(stems)} annotations hold no object')
    check_boxes(report, folder, np.array(boxes, float), np.array(box_sizes, float), names)
    return sizes, f'{len(boxes)} objects ({difficult} difficult)'
