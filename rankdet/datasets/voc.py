"""Annotations in the layout of PASCAL VOC, converted to one COCO JSON file.

Nothing is lost silently: whatever is skipped, clipped or doubtful is listed with file and reason.

Pixel coordinates. VOC counts pixels from 1 and includes both ends, COCO measures distances from the
image's corner. The box of the pixels xmin..xmax therefore starts at xmin - 1 and ends at xmax.

Difficult objects become ``iscrowd=1`` (and keep ``difficult=1``). This is the one flag that both
sides understand: MMDetection puts such boxes into ``gt_instances_ignore``, so an assigner with
``ignore_iof_thr`` >= 0 does not train them as background; pycocotools neither counts them as
objects nor counts the detections on them as errors, however many. (pycocotools overwrites a field
``ignore``, and MMDetection drops boxes that carry one, which makes them background.) One shade
differs from the VOC devkit: a detection is matched to a crowd by its share inside the box, not by
IoU.
"""

from __future__ import annotations

import json
import math
import os
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from xml.parsers import expat

__all__ = ['Finding', 'VocConversion', 'voc_to_coco']

IMAGE_SUFFIXES = {'.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp'}


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
        return f'{self.kind}: {self.file}: {self.reason}'


@dataclass
class VocConversion:
    """What :func:`voc_to_coco` did.

    Attributes:
        classes: Class names in the order of their category ids (1, 2, ...).
        image_prefix: Folder that the file names are relative to.
        images, annotations, difficult, empty: Numbers of images, of annotations, of difficult ones
            among them, and of images without any.
        findings: Everything that was skipped, clipped or doubtful.
    """

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


class Unusable(Exception):
    """Why an image or an object cannot be used."""


@dataclass
class _Record:
    """One image and its objects, read but not yet numbered."""

    findings: list[Finding] = field(default_factory=list)
    path: Path | None = None  # of the image; None if it cannot be used
    size: tuple[int, int] = (0, 0)
    objects: list[tuple[str, list[float], bool]] = field(default_factory=list)


# --- reading -----------------------------------------------------------------------------------


def parse_xml(path: Path) -> ElementTree.Element:
    """Parse an annotation; a document type, the door to entity bombs, is refused unread."""

    def refuse(*_):
        raise Unusable('declares a document type (DOCTYPE), which is refused')

    try:
        content = path.read_bytes()
        guard = expat.ParserCreate()
        guard.StartDoctypeDeclHandler = refuse
        guard.Parse(content, True)
        return ElementTree.fromstring(content)
    except OSError as error:
        raise Unusable(f'cannot be read ({error.strerror})') from error
    except (expat.ExpatError, ElementTree.ParseError, LookupError, ValueError) as error:
        raise Unusable(f'is no valid XML ({error})') from error


def decode_size(path: Path) -> tuple[int, int]:
    """Width and height of an image as a training pipeline sees it, after decoding all of it."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.load()
            turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)  # on its side, by EXIF
            return image.size[::-1] if turned else image.size
    except Image.DecompressionBombError as error:
        raise Unusable(f'image is too large ({error})') from error
    except Exception as error:  # decoders raise almost anything on damaged files
        raise Unusable(f'image cannot be decoded ({error})') from error


def read_list(path: Path) -> list[str]:
    """Names in a list of ``ImageSets/Main``, in its order."""
    try:
        lines = path.read_text(encoding='utf-8').splitlines()
    except UnicodeDecodeError as error:
        raise Unusable(f'is no list of names: not UTF-8 ({error})') from None
    return [line.split()[0] for line in lines if line.strip()]


def _text(element: ElementTree.Element, path: str) -> str:
    return (element.findtext(path) or '').strip()


def read_box(element: ElementTree.Element, zero_based: bool) -> list[float]:
    """x1, y1, x2, y2 measured from the image's corner."""
    if element.find('bndbox') is None:
        raise Unusable('has no bndbox')
    corners = []
    for name in ('xmin', 'ymin', 'xmax', 'ymax'):
        text = _text(element, f'bndbox/{name}')
        try:
            corners.append(float(text))
        except ValueError:
            raise Unusable(f'{name} is {text!r}, not a number') from None
        if not math.isfinite(corners[-1]):
            raise Unusable(f'{name} is {text!r}, not a finite number')
    x1, y1, x2, y2 = corners
    if x2 <= x1 or y2 <= y1:
        raise Unusable(f'box {corners} is degenerate: xmax <= xmin or ymax <= ymin')
    return corners if zero_based else [x1 - 1, y1 - 1, x2, y2]


def clip_box(box: list[float], size: tuple[int, int]) -> list[float]:
    clipped = [min(max(value, 0.0), float(size[axis % 2])) for axis, value in enumerate(box)]
    if clipped[2] <= clipped[0] or clipped[3] <= clipped[1]:
        raise Unusable(f'box {box} lies outside the image of {size[0]} x {size[1]}')
    if clipped[2] - clipped[0] < 1 or clipped[3] - clipped[1] < 1:
        raise Unusable(f'box {box} covers less than a pixel of the image')
    return clipped


def _read_record(
    xml: Path, images: dict[str, list[Path]], zero_based: bool, images_only: bool
) -> _Record:
    """Read one annotation, unless only the image is wanted, and decode its image."""
    record = _Record()

    def report(kind: str, reason: str) -> None:
        record.findings.append(Finding(kind, str(xml), reason))

    try:
        if not images_only and not xml.is_file():
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
    named = _text(tree, 'filename')
    if named and Path(named).stem != xml.stem:
        report('note', f'filename says {named!r}, used {record.path.name}')
    stated = [_text(tree, 'size/width'), _text(tree, 'size/height')]
    actual = [str(length) for length in record.size]
    if any(stated) and stated != actual:
        report('note', f'size says {" x ".join(stated)}, image is {" x ".join(actual)}')

    for number, element in enumerate(tree.findall('object'), 1):
        name = _text(element, 'name')
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
        difficult = _text(element, 'difficult') or '0'
        if difficult not in ('0', '1'):
            report('note', f'{label}: difficult is {difficult!r}, taken as 0')
        record.objects.append((name, clipped, difficult == '1'))
    return record


# --- choosing ----------------------------------------------------------------------------------


def _list_images(root: Path) -> dict[str, list[Path]]:
    by_stem: dict[str, list[Path]] = {}
    for path in sorted((root / 'JPEGImages').iterdir()):
        if path.suffix.lower() in IMAGE_SUFFIXES:
            by_stem.setdefault(path.stem, []).append(path)
    return by_stem


def _list_annotations(
    root: Path, split: str | None, images: dict[str, list[Path]]
) -> tuple[list[Path], list[Finding]]:
    """Annotations of a split in its order, or all of them by name."""
    folder = root / 'Annotations'
    if split is None:
        stems = {path.stem for path in folder.glob('*.xml')} | set(images)
        return [folder / f'{stem}.xml' for stem in sorted(stems)], []
    listing = root / 'ImageSets' / 'Main' / f'{split}.txt'
    if not listing.is_file():
        known = sorted(path.stem for path in listing.parent.glob('*.txt'))
        raise FileNotFoundError(f'no split {split!r}: {listing} is missing; there are {known}')
    findings, stems = [], {}
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


def _find_classes(roots: Sequence[Path]) -> tuple[str, ...]:
    """Names in all annotations, whatever the split, so that every split gets the same ids."""
    names = set()
    for root in roots:
        for path in sorted((root / 'Annotations').glob('*.xml')):
            try:
                names.update(_text(element, 'name') for element in parse_xml(path).iter('object'))
            except Unusable:
                continue  # reported where its split is converted
    return tuple(sorted(names - {''}))


def _check_roots(roots) -> list[Path]:
    if isinstance(roots, (str, os.PathLike)):
        roots = [roots]
    roots = [Path(root).resolve() for root in roots]
    if not roots:
        raise ValueError('roots is empty: give at least one folder')
    if len(set(roots)) < len(roots):
        raise ValueError(f'roots names a folder twice: {[str(root) for root in roots]}')
    for root in roots:
        for part in ('Annotations', 'JPEGImages'):
            if not (root / part).is_dir():
                raise FileNotFoundError(f'{root} is not in the layout of VOC: it has no {part}')
    return roots


# --- converting --------------------------------------------------------------------------------


def voc_to_coco(
    roots: str | os.PathLike | Sequence[str | os.PathLike],
    out_file: str | os.PathLike,
    *,
    split: str | None = None,
    classes: Sequence[str] | None = None,
    skip_unknown: bool = False,
    image_prefix: str | os.PathLike | None = None,
    zero_based: bool = False,
    images_only: bool = False,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> VocConversion:
    """Convert annotations in the layout of VOC to one COCO JSON file.

    Writes ``out_file``, and beside it ``<stem>.report.txt`` with every finding. Both appear
    complete or not at all. Images are decoded, which takes most of the time; damaged ones are left
    out and reported.

    Args:
        roots: One or more folders with Annotations, JPEGImages and, for ``split``, ImageSets/Main.
        out_file: The JSON file to write.
        split: Name of a list in ImageSets/Main; None takes every annotation.
        classes: Class names, in the order of category ids. None: all names that occur in any
            annotation of ``roots``, sorted.
        skip_unknown: Leave out (and report) objects of other classes instead of failing.
        image_prefix: Folder that file names are written relative to, to be given to the data set as
            ``data_prefix``. None: the deepest common folder of ``roots``.
        zero_based: Coordinates are already measured from the image's corner.
        images_only: Take no objects, and images without an annotation too: a test set whose
            annotations are withheld, such as VOC2012's.
        workers: Threads that decode images; None lets Python choose.
        progress: Called with (done, total) after each image.

    Returns:
        VocConversion: Counts and findings.

    Raises:
        FileNotFoundError: If a folder or the list of the split is missing.
        ValueError: If an object has a class that is not in ``classes``, if an option does not make
            sense, or if no image can be used. Nothing is written then.
    """
    roots = _check_roots(roots)
    prefix = Path(image_prefix or os.path.commonpath(roots)).resolve()
    for root in roots:
        if not root.is_relative_to(prefix):
            raise ValueError(f'image_prefix {prefix} does not contain {root}')
    if isinstance(classes, str):
        raise TypeError(f'classes must be a sequence of names, got the string {classes!r}')
    classes = _find_classes(roots) if classes is None else tuple(classes)
    if not classes or len(set(classes)) < len(classes):
        raise ValueError(f'classes must be different names, at least one, got {list(classes)}')

    result = VocConversion(classes, prefix)
    jobs: list[tuple[Path, dict[str, list[Path]]]] = []
    for root in roots:
        images = _list_images(root)
        annotations, findings = _list_annotations(root, split, images)
        jobs += [(xml, images) for xml in annotations]
        result.findings += findings

    coco = dict(info={}, images=[], annotations=[], categories=[])
    coco['categories'] = [dict(id=i, name=name) for i, name in enumerate(classes, 1)]
    read = partial(_read_record, zero_based=zero_based, images_only=images_only)
    with ThreadPoolExecutor(workers) as pool:
        for done, record in enumerate(pool.map(read, *zip(*jobs)) if jobs else (), 1):
            result.findings += record.findings
            if record.path is not None:
                _add_record(coco, result, record, jobs[done - 1][0], skip_unknown)
            if progress is not None:
                progress(done, len(jobs))
    if not result.images:
        listed = ''.join(f'\n  {finding}' for finding in result.findings[:5])
        raise ValueError(f'no usable image in {", ".join(map(str, roots))}{listed}')

    coco['info'] = dict(description='converted from VOC XML', split=split, summary=result.summary())
    out_file = Path(out_file)
    report = ''.join(f'{line}\n' for line in (result.summary(), *result.findings))
    write_whole(out_file.with_name(f'{out_file.stem}.report.txt'), report)
    write_whole(out_file, json.dumps(coco, ensure_ascii=False, allow_nan=False) + '\n')
    return result


def _add_record(
    coco: dict, result: VocConversion, record: _Record, xml: Path, skip_unknown: bool
) -> None:
    """Number an image and its objects and append them."""
    result.images += 1
    width, height = record.size
    file_name = record.path.relative_to(result.image_prefix).as_posix()
    coco['images'].append(dict(id=result.images, file_name=file_name, width=width, height=height))
    before = result.annotations
    for name, (x1, y1, x2, y2), difficult in record.objects:
        if name not in result.classes:
            reason = f'class {name!r} is not among {list(result.classes)}'
            if not skip_unknown:
                raise ValueError(f'{xml}: {reason}; add it, or ask to skip unknown classes')
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
