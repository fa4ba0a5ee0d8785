"""What the checks of a data set share: the report, and looking at images and boxes."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .voc_files import Unusable, decode_size, header_size

#: Called as ``progress(stage, done, total)``.
Progress = Callable[[str, int, int], None]


class Problem(NamedTuple):
    """Something wrong with a data set.

    Attributes:
        stops: Whether a training on it would stop, or learn something else than what was meant.
        where: The file or folder.
        what: What is wrong and what to do.
    """

    stops: bool
    where: str
    what: str

    def __str__(self) -> str:
        return f'{"error" if self.stops else "warning"}: {self.where}: {self.what}'


@dataclass
class CheckReport:
    """What was found.

    Attributes:
        parts: One line per part of the data set: what was looked at, and what was not.
        problems: What is wrong, in the order it was found.
        opened: How many images were opened and not decoded.
    """

    parts: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    opened: int = 0

    @property
    def ok(self) -> bool:
        """Whether nothing would stop a training."""
        return not any(problem.stops for problem in self.problems)

    def stop(self, where: object, what: str) -> None:
        self.problems.append(Problem(True, str(where), what))

    def warn(self, where: object, what: str) -> None:
        self.problems.append(Problem(False, str(where), what))

    def add(self, part: CheckReport) -> None:
        """Take over all that another one says."""
        self.parts += part.parts
        self.problems += part.problems
        self.opened += part.opened

    def text(self) -> str:
        """Everything, a line each, and the verdict."""
        errors = sum(problem.stops for problem in self.problems)
        warnings = len(self.problems) - errors
        verdict = f'{errors} errors, {warnings} warnings'
        return '\n'.join([*self.parts, *map(str, self.problems), verdict])


@dataclass
class Options:
    """How to check.

    Attributes:
        decode: Decode every image, not only read its header.
        workers: Threads that open images; None lets Python choose.
        progress: Called as ``progress(stage, done, total)``.
        subset: Whether the data may have fewer images than the official set, on purpose.
    """

    decode: bool = False
    workers: int | None = None
    progress: Progress = lambda stage, done, total: None
    subset: bool = False


def some(items: Sequence[object], shown: int = 3) -> str:
    """The first of many."""
    more = f' and {len(items) - shown} more' if len(items) > shown else ''
    return ', '.join(map(str, items[:shown])) + more


def check_count(
    report: CheckReport,
    where: object,
    images: int,
    official: int | None,
    source: str,
    options: Options,
) -> None:
    """Compare the number of images in a list with the official one; fewer are incomplete data.

    Args:
        report: Gets the problem.
        where: The list.
        images, official: Both numbers; None where there is no official one.
        source: Where the list comes from, for the message.
        options: How to check.
    """
    if official in (None, images):
        return
    what = f'has {images} images, the official number is {official}'
    if images < official and not options.subset:
        report.stop(where, f'{what}; {source}; --subset of check_data.py is for small data')
    else:
        report.warn(where, f'{what}; {source}')


def check_images(
    report: CheckReport,
    folder: Path,
    names: Sequence[str],
    sizes: Sequence[tuple[int, int] | None],
    source: str,
    options: Options,
    *,
    sizes_stop: bool = True,
) -> None:
    """Look for the files of images, and read their headers or, if asked, all of them.

    Args:
        report: Gets a line on what was looked at, and the problems.
        folder: What names are relative to.
        names: File names.
        sizes: Width and height that the annotations give each, or None.
        source: Where images come from, for the message.
        options: How to check.
        sizes_stop: Whether images of another size than that of the annotations stop a training.
    """
    found = _file_sizes(folder, names)
    missing = [name for name in names if name not in found]
    if missing:
        report.stop(
            folder,
            f'{len(missing)} of {len(names)} images are missing: {some(missing)}; {source}',
        )
    empty = [name for name in names if found.get(name) == 0]
    if empty:
        report.stop(folder, f'{len(empty)} images are empty files: {some(empty)}; {source}')
    present = [(name, size) for name, size in zip(names, sizes) if found.get(name)]
    damaged, other, compared = [], [], 0
    stage = f'{"decoding" if options.decode else "opening"} {folder}'
    with ThreadPoolExecutor(options.workers) as pool:
        results = pool.map(lambda item: _size(folder / item[0], options.decode), present)
        for done, ((name, size), actual) in enumerate(zip(present, results), 1):
            options.progress(stage, done, len(present))
            if isinstance(actual, Unusable):
                damaged.append(f'{name} ({actual})')
            elif size is not None:
                compared += 1
                if tuple(size) != actual:
                    w, h = size
                    other.append(f'{name} (is {actual[0]} x {actual[1]}, not {w} x {h})')
    if damaged:
        report.stop(folder, f'{len(damaged)} images are damaged: {some(damaged)}; {source}')
    if other:
        what = f'{len(other)} images do not have the size of the annotations: {some(other)}'
        (report.stop if sizes_stop else report.warn)(folder, what)
    report.opened += 0 if options.decode else len(present)
    read = 'decoded' if options.decode else 'headers read, pixels not'
    report.parts.append(
        f'{folder}: {len(present)} of {len(names)} images found; {read}; {compared} sizes compared'
    )


def _file_sizes(folder: Path, names: Sequence[str]) -> dict[str, int]:
    """Bytes of the files that are there; asks the file system once for each folder."""
    by_folder: dict[str, list[str]] = defaultdict(list)
    for name in names:
        by_folder[os.path.dirname(name)].append(name)
    found = {}
    for part, members in by_folder.items():
        try:
            with os.scandir(folder / part) as entries:
                there = {entry.name: entry for entry in entries}
        except (OSError, ValueError):  # a name that no file can have
            continue
        for name in members:
            entry = there.get(os.path.basename(name))
            if entry is not None and entry.is_file():
                found[name] = entry.stat().st_size
    return found


def _size(path: Path, decode: bool) -> tuple[int, int] | Unusable:
    try:
        return decode_size(path) if decode else header_size(path)
    except Unusable as problem:
        return problem


def check_boxes(
    report: CheckReport,
    where: object,
    boxes: np.ndarray,
    sizes: np.ndarray,
    names: Sequence[str],
) -> None:
    """Warn of boxes that cannot be learned from as they are.

    Args:
        report: Gets the problems.
        where: The annotations.
        boxes: ``(n, 4)`` x1, y1, x2, y2 from the image's corner.
        sizes: ``(n, 2)`` width and height of their images.
        names: ``n`` names of their images.
    """
    boxes, sizes = boxes.reshape(-1, 4), sizes.reshape(-1, 2)
    low, high = boxes[:, :2], boxes[:, 2:]
    thin = (high - low < 1).any(1)
    inside = np.minimum(high, sizes) - np.maximum(low, 0)
    outside = ~thin & (inside <= 0).any(1)
    over = ~thin & ~outside & ((low < -1) | (high > sizes + 1)).any(1)
    for bad, what in (
        (thin, 'are less than a pixel wide or high, and MMDetection drops them'),
        (outside, 'lie outside their image, and MMDetection drops them'),
        (over, 'reach over the edge of their image by more than a pixel'),
    ):
        rows = np.flatnonzero(bad)
        if len(rows):
            shown = [f'{names[row]} {boxes[row].round(1).tolist()}' for row in rows[:3]]
            report.warn(where, f'{len(rows)} of {len(boxes)} boxes {what}: {some(shown)}')
