"""Annotations in the layout of PASCAL VOC, converted to one COCO JSON file.

Nothing is lost silently: whatever is skipped, clipped or doubtful is listed with file and reason.

Pixel coordinates. VOC counts pixels from 1 and includes both ends, COCO measures distances from the
image's corner. The box of the pixels xmin..xmax therefore starts at xmin - 1 and ends at xmax. It
is xmax - xmin + 1 wide, as in the development kit; one with xmax == xmin is a pixel wide, and
counts. Dropped and listed are xmax < xmin, ymax < ymin, and boxes of a single pixel, slips of the
mouse (which the kit would count). Where coordinates are measured from the corner already
(``zero_based``), xmax == xmin is an empty box and dropped.

Difficult objects become ``iscrowd=1`` (and keep ``difficult=1``). This is the one flag that both
sides understand: MMDetection puts such boxes into ``gt_instances_ignore``, so an assigner with
``ignore_iof_thr`` >= 0 does not train them as background; pycocotools neither counts them as
objects nor counts the detections on them as errors, however many. (pycocotools overwrites a field
``ignore``, and MMDetection drops boxes that carry one, which makes them background.) One thing
pycocotools cannot know: it takes the share of a detection inside a crowd for their overlap, so that
it ignores any small detection on a large difficult object. The metrics of rankdet read
``difficult`` and take the IoU, as VOC's development kit does; on the same file their AP may be
lower than pycocotools'.
"""

from __future__ import annotations

import json
import os
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rankdet.untrusted import refuse_unfit_names, visible

from .official import VOC_CLASSES, VOC_SPLITS
from .voc_files import (
    Unusable,
    clip_box,
    decode_size,
    parse_xml,
    read_box,
    read_list,
    text_of,
)

__all__ = ['Finding', 'VocConversion', 'convert_voc', 'voc_to_coco']

#: Called as ``progress(stage, done, total)``.
Progress = Callable[[str, int, int], None]

#: Folders with the 20 classes of VOC, unless others are given.
_OFFICIAL_YEARS = sorted({year for year, _ in VOC_SPLITS})
IMAGE_SUFFIXES = {'.jpg', '.jpeg', '.jfif', '.png', '.bmp', '.tif', '.tiff', '.webp'}


@dataclass(frozen=True)
class Finding:
    """Something that did not go into the JSON file as it was written.

    Attributes:
        kind: 'image skipped', 'object skipped', 'object clipped' or 'note'.
        file: The annotation, image or list concerned.
        reason: What is wrong, with the values.
    """

    kind: str
    file: str
    reason: str

    def __str__(self) -> str:
        return visible(f'{self.kind}: {self.file}: {self.reason}')


@dataclass
class VocConversion:
    """What :func:`convert_voc` made.

    Attributes:
        coco: The content of the JSON file.
        classes: Class names in the order of their category ids (1, 2, ...).
        image_prefix: Folder that the file names are relative to.
        images, annotations, difficult, empty: Numbers of images, of annotations, of difficult ones
            among them, and of images without any.
        findings: Everything that was skipped, clipped or doubtful.
    """

    coco: dict[str, Any] = field(repr=False)
    classes: tuple[str, ...]
    image_prefix: Path
    images: int = 0
    annotations: int = 0
    difficult: int = 0
    empty: int = 0
    findings: list[Finding] = field(default_factory=list)

    def summary(self) -> str:
        """One line of counts."""
        kinds = Counter(finding.kind for finding in self.findings)
        counts = [
            f'{self.images} images ({self.empty} without objects)',
            f'{self.annotations} objects ({self.difficult} difficult)',
            *(f'{number} x {kind}' for kind, number in sorted(kinds.items())),
        ]
        return ', '.join(counts)

    def write(self, out_file: str | os.PathLike) -> None:
        """Write ``out_file``, and beside it ``<stem>.report.txt`` with every finding.

        Both appear complete or not at all.
        """
        out_file = Path(out_file)
        report = ''.join(f'{line}\n' for line in (self.summary(), *self.findings))
        write_whole(out_file.with_name(f'{out_file.stem}.report.txt'), report)
        write_whole(out_file, json.dumps(self.coco, ensure_ascii=False, allow_nan=False) + '\n')


@dataclass
class Record:
    """One image and its objects, read but not yet numbered."""

    findings: list[Finding] = field(default_factory=list)
    path: Path | None = None  # of the image; None if it cannot be used
    size: tuple[int, int] = (0, 0)
    objects: list[tuple[str, list[float], bool]] = field(default_factory=list)


# --- reading -----------------------------------------------------------------------------------


def read_record(
    xml: Path, images: dict[str, list[Path]], zero_based: bool, images_only: bool
) -> Record:
    """Read one annotation, unless only the image is wanted, and decode its image."""
    record = Record()

    def report(kind: str, reason: str) -> None:
        record.findings.append(Finding(kind, str(xml), reason))

    try:
        if not images_only and not xml.exists():
            raise Unusable('annotation is missing')
        found = images.get(xml.stem, [])
        if len(found) != 1:
            names = ', '.join(path.name for path in found)
            raise Unusable(f'several images fit: {names}' if found else 'image is missing')
        tree = ElementTree.Element('annotation') if images_only else parse_xml(xml)
        record.size = decode_size(found[0])
    except Unusable as problem:
        report('image skipped', str(problem))
        return record
    record.path = found[0]

    # Only ever compared: the image is looked up by the annotation's own name.
    named = text_of(tree, 'filename')
    if named and Path(named).stem != xml.stem:
        report('note', f'filename says {named!r}, used {record.path.name}')
    stated = [text_of(tree, 'size/width'), text_of(tree, 'size/height')]
    actual = [str(length) for length in record.size]
    if any(stated) and stated != actual:
        report('note', f'size says {" x ".join(stated)}, image is {" x ".join(actual)}')

    for number, element in enumerate(tree.findall('object'), 1):
        name = text_of(element, 'name')
        label = f'object {number} ({name or "no name"})'
        try:
            if not name:
                raise Unusable('has no class name')
            box = read_box(element, zero_based)
            clipped = clip_box(box, record.size)
        except Unusable as problem:
            report('object skipped', f'{label}: {problem}')
            continue
        if clipped != box:
            report('object clipped', f'{label}: {box} to {clipped}')
        difficult = text_of(element, 'difficult') or '0'
        if difficult not in ('0', '1'):
            report('note', f'{label}: difficult is {difficult!r}, taken as 0')
        record.objects.append((name, clipped, difficult == '1'))
    return record


# --- choosing ----------------------------------------------------------------------------------


def list_images(root: Path) -> dict[str, list[Path]]:
    by_stem: dict[str, list[Path]] = {}
    for path in sorted((root / 'JPEGImages').iterdir()):
        if path.suffix.lower() in IMAGE_SUFFIXES:
            by_stem.setdefault(path.stem, []).append(path)
    return by_stem


def list_annotations(
    root: Path, split: str | None, images: dict[str, list[Path]]
) -> tuple[list[Path], list[Finding]]:
    """Annotations of a split in its order, or all of them by name."""
    folder = root / 'Annotations'
    if split is None:
        found = {path.stem for path in folder.glob('*.xml')} | set(images)
        return [folder / f'{stem}.xml' for stem in sorted(found)], []
    listing = root / 'ImageSets' / 'Main' / f'{split}.txt'
    if not listing.is_file():
        known = sorted(path.stem for path in listing.parent.glob('*.txt'))
        raise FileNotFoundError(f'no split {split!r}: {listing} is missing; there are {known}')
    findings: list[Finding] = []
    stems: dict[str, Path] = {}
    try:
        listed = read_list(listing)
    except Unusable as problem:
        raise ValueError(f'{listing} {problem}') from None
    for stem in listed:
        if '/' in stem or '\\' in stem or stem in ('.', '..'):
            findings.append(Finding('image skipped', str(listing), f'{stem!r} is no plain name'))
        elif stem in stems:
            findings.append(Finding('note', str(listing), f'{stem!r} is listed twice, used once'))
        else:
            stems[stem] = folder / f'{stem}.xml'
    return list(stems.values()), findings


def _find_classes(roots: Sequence[Path], progress: Progress) -> tuple[str, ...]:
    """VOC's own, or the names in all annotations: every split must get the same ids."""
    if all(root.name in _OFFICIAL_YEARS for root in roots):
        return VOC_CLASSES
    names: set[str] = set()
    paths = [path for root in roots for path in sorted((root / 'Annotations').glob('*.xml'))]
    for done, path in enumerate(paths, 1):
        progress('looking for classes', done, len(paths))
        try:
            names.update(text_of(element, 'name') for element in parse_xml(path).iter('object'))
        except Unusable:
            continue  # reported where its split is converted
    if not names - {''}:
        raise ValueError(
            f'no annotation in {", ".join(map(str, roots))} names a class: give classes '
            '(--classes on the command line), in the order that training has them'
        )
    return tuple(sorted(names - {''}))


def _check_roots(
    roots: str | os.PathLike | Sequence[str | os.PathLike], images_only: bool
) -> list[Path]:
    if isinstance(roots, (str, os.PathLike)):
        roots = [roots]
    folders = [Path(root).resolve() for root in roots]
    if not folders:
        raise ValueError('roots is empty: give at least one folder')
    if len(set(folders)) < len(folders):
        raise ValueError(f'roots names a folder twice: {[str(root) for root in folders]}')
    for root in folders:
        for part in ('JPEGImages',) if images_only else ('Annotations', 'JPEGImages'):
            if not (root / part).is_dir():
                raise FileNotFoundError(f'{root} is not in the layout of VOC: it has no {part}')
    return folders


# --- converting --------------------------------------------------------------------------------


def voc_to_coco(
    roots: str | os.PathLike | Sequence[str | os.PathLike],
    out_file: str | os.PathLike,
    **options: Any,
) -> VocConversion:
    """Convert annotations in the layout of VOC to one COCO JSON file.

    Writes ``out_file``, and beside it ``<stem>.report.txt`` with every finding. Both appear
    complete or not at all.

    Args:
        roots: One or more folders with Annotations, JPEGImages and, for ``split``, ImageSets/Main.
        out_file: The JSON file to write.
        options: See :func:`convert_voc`.

    Returns:
        VocConversion: Content, counts and findings.

    Raises:
        FileNotFoundError, TypeError, ValueError: As :func:`convert_voc`. Nothing is written then.
    """
    result = convert_voc(roots, **options)
    result.write(out_file)
    return result


def convert_voc(
    roots: str | os.PathLike | Sequence[str | os.PathLike],
    *,
    split: str | None = None,
    classes: Sequence[str] | None = None,
    skip_unknown: bool = False,
    image_prefix: str | os.PathLike | None = None,
    zero_based: bool = False,
    images_only: bool = False,
    workers: int | None = None,
    progress: Progress = lambda stage, done, total: None,
) -> VocConversion:
    """Convert annotations in the layout of VOC, in memory.

    Images are decoded, which takes most of the time; damaged ones are left out and reported.

    Args:
        roots: One or more folders with Annotations, JPEGImages and, for ``split``, ImageSets/Main.
        split: Name of a list in ImageSets/Main; None takes every annotation.
        classes: Class names, in the order of category ids. None: VOC's 20 where all ``roots`` are
            called VOC2007 or VOC2012, else all names that occur in any annotation, sorted.
        skip_unknown: Leave out (and report) objects of other classes instead of failing.
        image_prefix: Folder that file names are written relative to, to be given to the data set as
            ``data_prefix``. None: the deepest common folder of ``roots``.
        zero_based: Coordinates are already measured from the image's corner.
        images_only: Take no objects, and images without an annotation too: a test set whose
            annotations are withheld, such as VOC2012's.
        workers: Threads that decode images; None lets Python choose.
        progress: Called as ``progress(stage, done, total)``.

    Returns:
        VocConversion: Content, counts and findings; its ``write`` makes the file.

    Raises:
        FileNotFoundError: If a folder or the list of the split is missing.
        TypeError: If ``classes`` is a string.
        ValueError: If an object has a class that is not in ``classes``, if there are no class
            names, if an option does not make sense, or if no image can be used.
    """
    roots = _check_roots(roots, images_only)
    prefix = Path(image_prefix or os.path.commonpath(roots)).resolve()
    for root in roots:
        if not root.is_relative_to(prefix):
            raise ValueError(f'image_prefix {prefix} does not contain {root}')
    if isinstance(classes, str):
        raise TypeError(f'classes must be a sequence of names, got the string {classes!r}')
    jobs: list[tuple[Path, dict[str, list[Path]]]] = []
    listed: list[Finding] = []
    for root in roots:
        images = list_images(root)
        annotations, findings = list_annotations(root, split, images)
        jobs += [(xml, images) for xml in annotations]
        listed += findings
    classes = _find_classes(roots, progress) if classes is None else tuple(classes)
    if not classes or len(set(classes)) < len(classes):
        raise ValueError(f'classes must be different names, at least one, got {list(classes)}')
    refuse_unfit_names(classes, ', '.join(map(str, roots)))

    coco: dict = dict(info={}, images=[], annotations=[], categories=[])
    coco['categories'] = [dict(id=i, name=name) for i, name in enumerate(classes, 1)]
    result = VocConversion(coco, classes, prefix, findings=listed)
    read = partial(read_record, zero_based=zero_based, images_only=images_only)
    with ThreadPoolExecutor(workers) as pool:
        for done, record in enumerate(pool.map(read, *zip(*jobs)) if jobs else (), 1):
            result.findings += record.findings
            if record.path is not None:
                add_record(result, record, jobs[done - 1][0], skip_unknown)
            progress(f'reading images of {split or "all"}', done, len(jobs))
    if not result.images:
        reasons = ''.join(f'\n  {finding}' for finding in result.findings[:5])
        raise ValueError(f'no usable image in {", ".join(map(str, roots))}{reasons}')
    coco['info'] = dict(description='converted from VOC XML', split=split, summary=result.summary())
    return result


def add_record(result: VocConversion, record: Record, xml: Path, skip_unknown: bool) -> None:
    """Number an image and its objects and append them."""
    coco = result.coco
    result.images += 1
    width, height = record.size
    assert record.path is not None  # without an image nothing is added
    file_name = record.path.relative_to(result.image_prefix).as_posix()
    coco['images'].append(dict(id=result.images, file_name=file_name, width=width, height=height))
    before = result.annotations
    for name, (x1, y1, x2, y2), difficult in record.objects:
        if name not in result.classes:
            reason = f'class {name!r} is not among {list(result.classes)}'
            if not skip_unknown:
                raise ValueError(
                    f'{xml}: {reason}; give all classes, or ask to skip unknown ones '
                    '(--classes, --skip-unknown)'
                )
            result.findings.append(Finding('object skipped', str(xml), reason))
            continue
        result.annotations += 1
        result.difficult += difficult
        w, h = x2 - x1, y2 - y1
        coco['annotations'].append(
            dict(
                id=result.annotations,
                image_id=result.images,
                category_id=result.classes.index(name) + 1,
                bbox=[x1, y1, w, h],
                area=w * h,
                iscrowd=int(difficult),
                difficult=int(difficult),
            )
        )
    result.empty += result.annotations == before


def write_whole(path: Path, content: str) -> None:
    """Write a file so that it is there complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f'.{path.name}.{os.getpid()}.part')
    try:
        part.write_text(content, encoding='utf-8')
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
