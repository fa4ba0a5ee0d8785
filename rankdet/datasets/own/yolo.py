"""YOLO text: a file an image, a line an object: ``class x_center y_center width height``.

The four are shares of the image's width and height. Lines with more numbers are outlines, as of
segmentation, and their box is taken. Class names are in ``data.yaml`` (``names``), or a line each
in ``classes.txt`` or ``obj.names``. An image without a file has no objects.
"""

from __future__ import annotations

import math
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from ..voc import Finding, Record
from ..voc_files import Unusable, clip_box, decode_size, read_text
from .listing import Folder, Job, Listing, split_name

_LISTS = {'train', 'val', 'valid', 'test'}  # of images, one path a line
_SLACK = 1e-3  # what rounding may add to a share
_LARGEST_YAML = 2**20  # bytes; reading a megabyte of YAML takes a minute
_LONGEST_PATH = 4096  # characters of a line that names an image
_Settings: TypeAlias = tuple[Path, dict[str, Any]]  # a YAML file and its content


def is_yolo(folder: Folder) -> bool:
    return any(_is_label(path) for path in folder.ending('.txt') if path.stem in folder.by_stem)


def list_yolo(folder: Folder) -> Listing:
    """Every image; its split is what data.yaml, a list or the names of its folders say."""
    settings = _settings(folder)
    classes, source = _class_names(folder, settings)
    listing = Listing(classes=classes)
    texts = set(folder.ending('.txt'))
    splits = _splits(listing, folder, settings)
    used = set()
    for image, split in splits.items():
        label = next((path for path in _label_paths(folder, image) if path in texts), None)
        used.add(label)
        listing.jobs.append(Job(split, image, partial(_read_record, image, label, classes, source)))
    for path in sorted(texts - used):
        if path.stem not in folder.by_stem and _is_label(path):
            listing.skip(path, f'image {path.stem} is missing')
    return listing


# --- data.yaml, names, lists -------------------------------------------------------------------


def _text(path: Path, *largest: int) -> str:
    try:
        return read_text(path, *largest)
    except Unusable as problem:
        raise ValueError(f'{path} {problem}') from None


def _settings(folder: Folder) -> _Settings | None:
    """The YAML file that names classes, the one closest to the root."""
    # MMEngine's own way to load YAML would run code that a stranger put into it.
    from mmengine.fileio.handlers.yaml_handler import yaml

    class Loader(yaml.SafeLoader):
        """Merges of merges grow without bound, and no list of classes needs one."""

        def flatten_mapping(self, node: Any) -> None:
            for key, _ in node.value:
                if key.tag == 'tag:yaml.org,2002:merge':
                    raise yaml.constructor.ConstructorError(problem_mark=key.start_mark)

    for path in sorted(folder.ending('.yaml', '.yml'), key=lambda path: len(path.parts)):
        text = _text(path, _LARGEST_YAML)
        try:
            content = yaml.load(text, Loader=Loader)
        except (yaml.YAMLError, RecursionError, ValueError) as error:
            mark = getattr(error, 'problem_mark', None)
            line = f':{mark.line + 1}' if mark else ''
            raise ValueError(f'{path}{line}: is no valid YAML, or merges (<<)') from None
        if isinstance(content, dict) and 'names' in content:
            # As they are written: to YAML `no` is false, and 010 is eight.
            return path, content | dict(names=yaml.load(text, Loader=yaml.BaseLoader)['names'])
    return None


def _class_names(folder: Folder, settings: _Settings | None) -> tuple[tuple[str, ...], Path]:
    if settings:
        path, content = settings
        return _yaml_names(path, content['names']), path
    named = [path for path in folder.ending('.names') if path.suffix == '.names']
    named += [path for path in folder.ending('.txt') if path.name in ('classes.txt', 'labels.txt')]
    for path in sorted(named, key=lambda path: len(path.parts)):
        names = [line.strip() for line in _text(path).rstrip().splitlines()]
        return _checked(path, names), path
    raise ValueError(
        f'{folder.root} does not name its classes: write them into {folder.root / "classes.txt"}, '
        'one a line, in the order of their numbers'
    )


def _yaml_names(path: Path, names: object) -> tuple[str, ...]:
    if isinstance(names, dict):
        if sorted(names) != sorted(map(str, range(len(names)))):
            raise ValueError(f'{path}: names must be numbered 0 to {len(names) - 1}')
        names = [names[key] for key in sorted(names, key=int)]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f'{path}: names must be a list of names')
    return _checked(path, [name.strip() for name in names])


def _checked(path: Path, names: list[str]) -> tuple[str, ...]:
    twice = [name for name, times in Counter(names).items() if times > 1]
    if not names or not all(names) or twice:
        what = f'{twice[0]!r:.40} twice' if twice and all(names) else 'an empty name or none'
        raise ValueError(f'{path}: class names must differ, got {what}')
    return tuple(names)


def _splits(listing: Listing, folder: Folder, settings: _Settings | None) -> dict[Path, str | None]:
    """Images and their splits: by data.yaml where its paths lead somewhere, else by name."""
    known = set(folder.images)
    found: dict[Path, str | None] = {}
    for split, target in _targets(folder, settings):
        if target.suffix == '.txt':
            members = _read_list(listing, folder, target, known)
        else:
            members = [image for image in folder.images if target in image.parents]
        for image in members:
            if found.setdefault(image, split) != split:
                listing.skip(image, f'is in {found[image]} and in {split}')
    return found or {image: folder.split_of(image) for image in folder.images}


def _targets(folder: Folder, settings: _Settings | None) -> list[tuple[str | None, Path]]:
    """Folders of images and lists of images, with the split of each; none leads out of it."""
    targets = []
    if settings:
        path, content = settings
        for key in ('train', 'val', 'valid', 'test'):
            value = content.get(key)
            for entry in value if isinstance(value, list) else [value]:
                if isinstance(entry, str) and (place := _place(folder, path, content, entry)):
                    targets.append((split_name(key), place))
    if not any(split == 'train' for split, _ in targets):
        texts = [path for path in folder.ending('.txt') if path.stem.lower() in _LISTS]
        lists = [path for path in texts if not _is_label(path) and _names_images(path)]
        targets = [(split_name(path.stem.lower()), path) for path in lists]
    return targets


def _place(folder: Folder, yaml: Path, content: dict, entry: str) -> Path | None:
    given = content.get('path')
    base = given if isinstance(given, str) else ''
    # Roboflow writes '../train/images' for a folder beside the file.
    parts = [part for part in entry.replace('\\', '/').split('/') if part not in ('', '.', '..')]
    for start in (yaml.parent / base, yaml.parent, folder.root):
        place = start.joinpath(*parts)
        try:
            if folder.root in place.parents and '..' not in place.parts and place.exists():
                return place
        except (OSError, ValueError):  # no name that a file can have
            continue
    return None


def _names_images(path: Path) -> bool:
    lines = _text(path).split()
    return bool(lines) and '.' in lines[0]


def _read_list(listing: Listing, folder: Folder, path: Path, known: set[Path]) -> list[Path]:
    members = []
    for number, line in enumerate(_text(path).splitlines(), 1):
        parts = [
            part
            for part in line[:_LONGEST_PATH].strip().replace('\\', '/').split('/')
            if part not in ('', '.')
        ]
        # From the whole path, which may be that of another machine, to the name alone.
        for start in range(len(parts)):
            below = [folder.root.joinpath(*parts[start:]), path.parent.joinpath(*parts[start:])]
            image = next((place for place in below if place in known), None)
            if image:
                members.append(image)
                break
        else:
            if parts:
                listing.skip(f'{path}:{number}', f'image {line.strip()!r:.80} is missing')
    return members


# --- labels ------------------------------------------------------------------------------------


def _label_paths(folder: Folder, image: Path) -> list[Path]:
    """Where an image's labels may be: below ``labels`` as it is below ``images``, or beside it."""
    parts = list(image.relative_to(folder.root).parts)
    places = [image.with_suffix('.txt')]
    for at in reversed(range(len(parts) - 1)):
        if parts[at].lower() == 'images':
            other = [*parts[:at], 'labels', *parts[at + 1 :]]
            places.insert(0, folder.root.joinpath(*other).with_suffix('.txt'))
    return places


def _is_label(path: Path) -> bool:
    """Whether the first line is one of numbers."""
    try:
        with path.open(encoding='utf-8-sig') as file:
            lines = file.read(4096).splitlines()
        values = next((line.split() for line in lines if line.strip()), [])
        return len([float(value) for value in values]) >= 5
    except (OSError, ValueError):
        return False


def _read_record(image: Path, label: Path | None, names: tuple[str, ...], source: Path) -> Record:
    record = Record()
    try:
        record.size = decode_size(image)
        lines = read_text(label).splitlines() if label else []
    except Unusable as problem:
        record.findings.append(Finding('image skipped', str(image), str(problem)))
        return record
    record.path = image
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            name, box = _read_row(line.split(), names, source, record.size)
            clipped = clip_box(box, record.size)
        except Unusable as problem:
            record.findings.append(Finding('object skipped', f'{label}:{number}', str(problem)))
            continue
        if max(abs(a - b) for a, b in zip(box, clipped)) > 1:
            what = f'{box} to {clipped}'
            record.findings.append(Finding('object clipped', f'{label}:{number}', what))
        record.objects.append((name, clipped, False))
    return record


def _read_row(
    texts: list[str], names: tuple[str, ...], source: Path, size: tuple[int, int]
) -> tuple[str, list[float]]:
    """Class and corners, in pixels, of one line."""
    try:
        index, *values = (float(text) for text in texts)
    except ValueError:
        raise Unusable(f'{" ".join(texts)!r:.80} are not numbers') from None
    if not all(map(math.isfinite, (index, *values))):
        raise Unusable(f'{" ".join(texts)!r:.80} are not finite')
    if len(values) != 4 and (len(values) < 6 or len(values) % 2):
        raise Unusable(f'{len(texts)} values, not 5: class x_center y_center width height')
    if index not in range(len(names)):
        raise Unusable(f'class {index:g} is not among the {len(names)} classes of {source.name}')
    far = [value for value in values if not -_SLACK <= value <= 1 + _SLACK]
    if far:
        raise Unusable(f"{far[0]:g} is not between 0 and 1, a share of the image's width or height")
    if len(values) == 4:
        x, y, w, h = values
        corners = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
    else:
        corners = (min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2]))
    if corners[2] <= corners[0] or corners[3] <= corners[1]:
        raise Unusable(f'box {" ".join(texts[1:5])} has no area')
    return names[int(index)], [round(c * size[i % 2], 3) for i, c in enumerate(corners)]
