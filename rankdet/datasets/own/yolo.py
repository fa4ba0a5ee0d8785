"""YOLO text: a file an image, a line an object: ``class x_center y_center width height``.

The four are shares of the image's width and height. Lines with more numbers are outlines, as of
segmentation, and their box is taken. Class names are in ``data.yaml`` (``names``), or a line each
in ``classes.txt`` or ``obj.names``. An image without a file has no objects; a file without an image
is reported, for its image would be taken for background.
"""

from __future__ import annotations

import math
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from ..voc import IMAGE_SUFFIXES, Finding, Record
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
    """Every image; its split is what data.yaml, a list or the names of folders say."""
    settings = _settings(folder)
    classes, source = _class_names(folder, settings)
    listing = Listing(classes=classes)
    labels = _labels(listing, folder)
    for image, split in _splits(listing, folder, settings).items():
        label = labels.get(image)
        own = split or (folder.split_of(label) if label else None)
        listing.jobs.append(Job(own, image, partial(_read_record, image, label, classes, source)))
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
    named = folder.ending('.names')
    texts = ('classes.txt', 'labels.txt')
    named += [path for path in folder.ending('.txt') if path.name.lower() in texts]
    for path in sorted(named, key=lambda path: len(path.parts)):
        names = _names_in(path)
        for other in named:  # LabelImg writes one into each folder, in the order of its drawing
            if other.name == path.name and _names_in(other) != names:
                raise ValueError(
                    f'{path} and {other} differ: a class must have the same number everywhere. '
                    'Number the labels alike, and keep one list'
                )
        return _checked(path, names), path
    raise ValueError(
        f'{folder.root} does not name its classes: write them into {folder.root / "classes.txt"}, '
        'one a line, in the order of their numbers'
    )


def _names_in(path: Path) -> list[str]:
    return [line.strip() for line in _text(path).rstrip().splitlines()]


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
    # Some lists name their images without suffix.
    known = {image.with_suffix(''): image for image in folder.images}
    known |= {image: image for image in folder.images}
    found: dict[Path, str | None] = {}
    for split, target in _targets(folder, settings):
        if target.suffix.lower() == '.txt':
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
        lists = [path for path in texts if not _is_label(path) and _names_images(folder, path)]
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


def _names_images(folder: Folder, path: Path) -> bool:
    names = (_parts(line) for line in _text(path).splitlines())
    last = (Path(parts[-1]) for parts in names if parts)
    return any(p.suffix.lower() in IMAGE_SUFFIXES or p.name in folder.by_stem for p in last)


def _parts(line: str) -> list[str]:
    """Of a path in a list, which may be that of another machine and hold blanks."""
    parts = line[:_LONGEST_PATH].strip().replace('\\', '/').split('/')
    return [part for part in parts if part not in ('', '.')]


def _read_list(listing: Listing, folder: Folder, path: Path, known: dict[Path, Path]) -> list[Path]:
    members = []
    for number, line in enumerate(_text(path).splitlines(), 1):
        parts = _parts(line)
        # From the whole path to the name alone.
        for start in range(len(parts)):
            below = [folder.root.joinpath(*parts[start:]), path.parent.joinpath(*parts[start:])]
            image = next((known[place] for place in below if place in known), None)
            if image:
                members.append(image)
                break
        else:
            if parts:
                listing.skip(f'{path}:{number}', f'image {line.strip()!r:.80} is missing')
    return members


# --- labels ------------------------------------------------------------------------------------


def _labels(listing: Listing, folder: Folder) -> dict[Path, Path]:
    """The label of each image that has one; files of labels that no image uses are reported.

    Where no usual place fits, the only label of an image's name is taken, wherever it lies. Not so
    from a folder with labels of images that have theirs elsewhere: it holds copies or predictions.
    """
    texts = sorted(folder.ending('.txt'), key=lambda path: path.suffix != '.txt')
    places: dict[tuple[str, ...], Path] = {}
    for path in texts:
        places.setdefault(_place_of(folder, path), path)
    labels: dict[Path, Path] = {}
    for image in folder.images:
        label = next((places[key] for key in _label_places(folder, image) if key in places), None)
        if label:
            labels[image] = label
    used = set(labels.values())
    images: dict[Path, list[Path]] = {}  # of each file that lies elsewhere
    for path in sorted(set(texts) - used):
        if _is_label(path):
            images[path] = folder.nearest(folder.by_stem.get(path.stem, []), path)
    spare = {path for path, fits in images.items() if fits and all(i in labels for i in fits)}
    doubtful = {path.parent for path in spare}
    wanted = Counter(image for fits in images.values() for image in fits)
    for path, fits in images.items():
        if not fits:
            listing.skip(path, f'image {path.stem} is missing')
        elif path in spare:
            what = f'is not read: {fits[0].name} has its label in {labels[fits[0]]}'
            listing.findings.append(Finding('note', str(path), what))
        elif len(fits) > 1 or wanted[fits[0]] > 1 or path.parent in doubtful:
            place = folder.root.joinpath(*_label_places(folder, fits[0])[0])
            where = f'that of {fits[0]} is looked for in {place}.txt'
            listing.skip(path, f'belongs to no image where it lies: {where}')
        else:
            labels[fits[0]] = path
    return labels


def _place_of(folder: Folder, path: Path) -> tuple[str, ...]:
    """Parts of a path below the folder, without suffix and without the case of ``Labels``."""
    *parts, _ = path.relative_to(folder.root).parts
    return *(p.lower() if p.lower() in ('images', 'labels') else p for p in parts), path.stem


def _label_places(folder: Folder, image: Path) -> list[tuple[str, ...]]:
    """Where an image's label may be: below ``labels`` as it is below ``images``, or beside it."""
    parts = _place_of(folder, image)
    swaps = [at for at, part in enumerate(parts[:-1]) if part == 'images']
    return [*((*parts[:at], 'labels', *parts[at + 1 :]) for at in swaps), parts]


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
