"""Checking a data set folder before hours of training: VOC's development kit, or COCO."""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import combinations
from pathlib import Path

from .check_coco import check_coco_file, official_source
from .check_report import CheckReport, Options, Progress, some
from .check_voc import check_voc_split
from .official import COCO_CLASSES, COCO_SPLITS, VOC_CLASSES, VOC_SPLITS

__all__ = ['CheckReport', 'check_folder']

_VOC_YEARS = ('VOC2007', 'VOC2012')
#: Training, then testing; the files of one group have to be there.
_COCO_GROUPS: tuple[tuple[str, ...], ...] = (
    ('instances_train2017', 'instances_val2017'),
    ('instances_train2014', 'instances_valminusminival2014', 'instances_minival2014'),
)
_COCO_TESTS = ('image_info_test-dev2017', 'image_info_test-dev2015')  # for each group


def check_folder(
    folder: str | os.PathLike,
    *,
    decode: bool = False,
    subset: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> CheckReport:
    """Check a folder in the layout of VOC's development kit or of COCO.

    VOC: a folder with VOC2007 and VOC2012, or one of them. What is missing of a year that is there
    is an error, a year that is not there is a warning. COCO: a folder with ``annotations``. The
    files of 2017 or those of 2014 must be complete, whichever has folders of images here or, if
    there are none, annotation files; test-dev may be missing.

    Args:
        folder: The folder.
        decode: Decode every image, which takes minutes, to find those with damaged pixels.
            Otherwise their headers are read: what is no image is found, and a wrong size.
        subset: The data may have fewer images than the official sets, which is an error otherwise.
        workers: Threads that open images; None lets Python choose.
        progress: Called as ``progress(stage, done, total)``.

    Returns:
        CheckReport: ``ok`` says whether one can train on it, ``text()`` lists everything.
    """
    root = Path(folder).absolute()
    report = CheckReport()
    options = Options(decode, workers, progress or Options.progress, subset)
    if not root.is_dir():
        report.stop(root, 'folder does not exist')
    elif root.name in _VOC_YEARS:
        _check_voc_year(report, root, options)
    elif any((root / year).is_dir() for year in _VOC_YEARS):
        for year in _VOC_YEARS:
            if (root / year).is_dir():
                _check_voc_year(report, root / year, options)
            else:
                archives = dict.fromkeys(s.archive for (y, _), s in VOC_SPLITS.items() if y == year)
                report.warn(root / year, f'is not there; it is in {" and ".join(archives)}')
    elif (root / 'annotations').is_dir() or _coco_folders(root):
        _check_coco(report, root, options)
    else:
        report.stop(
            root,
            'is in no layout known here: it has neither VOC2007 or VOC2012 nor annotations (COCO)',
        )
    return report


def _check_voc_year(report: CheckReport, year: Path, options: Options) -> None:
    for split in ('trainval', 'test'):
        withheld = (year.name, split) == ('VOC2012', 'test')
        if withheld and not (year / 'ImageSets' / 'Main' / 'test.txt').is_file():
            archive = VOC_SPLITS[year.name, split].archive
            report.warn(year, f'has no test set, only needed for 07++12; it is in {archive}')
            continue
        part = CheckReport()
        check_voc_split(part, year, split, options=options)
        converted = year / f'instances_{split}.json'
        if converted.is_file():
            # Its images are those of the list: decoded already, and not reported damaged twice.
            images, quick = year if part.ok else None, replace(options, decode=False)
            check_coco_file(part, converted, images, classes=VOC_CLASSES, options=quick)
        else:
            part.stop(converted, f'is missing; {official_source(converted).annotations}')
        report.add(part)


def _check_coco(report: CheckReport, root: Path, options: Options) -> None:
    groups = _begun_groups(root)

    def path(stem: str) -> Path:
        return root / 'annotations' / f'{stem}.json'

    for group in groups:
        ids: dict[str, set] = {}
        for stem in group:
            folder = root / COCO_SPLITS[stem].folder
            content = check_coco_file(
                report, path(stem), folder, classes=COCO_CLASSES, options=options
            )
            ids[stem] = {image['id'] for image in content['images']} if content else set()
        for one, other in combinations(group, 2):
            if shared := ids[one] & ids[other]:
                what = f'{len(shared)} images are in {other} too: {some(sorted(shared, key=str))}'
                report.stop(path(one), what)
    for group, stem in zip(_COCO_GROUPS, _COCO_TESTS):
        folder = root / COCO_SPLITS[stem].folder
        if path(stem).is_file() or folder.is_dir():
            check_coco_file(report, path(stem), folder, classes=COCO_CLASSES, options=options)
        elif group in groups:
            report.parts.append(f'{path(stem)}: not there, and only needed for the test server')


def _begun_groups(root: Path) -> list[tuple[str, ...]]:
    """The groups of which something is there; that of 2017 where nothing is.

    Folders of images tell most: the annotations of 2017 lie beside those of 2014 as well, because
    minival is split off by them.
    """

    def has_images(group: tuple[str, ...]) -> bool:
        return any((root / COCO_SPLITS[stem].folder).is_dir() for stem in group)

    def has_files(group: tuple[str, ...]) -> bool:
        year = group[0][-4:]
        stems = [stem for stem, split in COCO_SPLITS.items() if split.annotated]
        files = [f'{stem}.json' for stem in stems if stem.endswith(year)]
        return any((root / 'annotations' / name).is_file() for name in files)

    for is_begun in (has_images, has_files):
        if begun := [group for group in _COCO_GROUPS if is_begun(group)]:
            return begun
    return [_COCO_GROUPS[0]]


def _coco_folders(root: Path) -> bool:
    return any((root / split.folder).is_dir() for split in COCO_SPLITS.values())
