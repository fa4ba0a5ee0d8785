"""What a folder of a user's holds, whatever its layout: files, splits by name, images to read."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from ..voc import IMAGE_SUFFIXES, Finding, Record

_SPLIT = re.compile(
    r'(?:^|[^a-z])(train|training|trainval|val|valid|validation|test|testing)(?:\d{4})?(?:$|[^a-z])'
)
_SHORT = dict(
    training='train', trainval='train', valid='val', validation='val', testing='test'
)  # fmt: skip


class Job(NamedTuple):
    """One image to read.

    Attributes:
        split: 'train', 'val' or 'test' where the data says so, else None.
        file: The image, or the annotation that names it.
        read: Reads the image and its objects.
    """

    split: str | None
    file: Path
    read: Callable[[], Record]


@dataclass
class Listing:
    """The images of a folder, listed and not yet read.

    Attributes:
        jobs: One an image.
        classes: Names in the data's own order; those that it does not list are sorted after them.
        findings: What is wrong with the lists.
    """

    jobs: list[Job] = field(default_factory=list)
    classes: tuple[str, ...] = ()
    findings: list[Finding] = field(default_factory=list)

    def skip(self, file: object, reason: str) -> None:
        self.findings.append(Finding('image skipped', str(file), reason))


class Folder:
    """All files under a folder, read once; hidden ones and loops of links are left out.

    Attributes:
        root: The folder.
        files: Its regular files, and links to such, sorted.
        odd: What else there is beside folders: pipes, devices, links that lead to these or nowhere.
            Reading one may never end.
    """

    def __init__(self, root: str | os.PathLike) -> None:
        self.root = Path(root).absolute()
        if not self.root.is_dir():
            raise FileNotFoundError(f'folder {self.root} does not exist')
        self.files: list[Path] = []
        self.odd: list[Path] = []
        seen = set()
        for folder, folders, names in os.walk(self.root, followlinks=True):
            real = os.path.realpath(folder)
            if real in seen:
                folders.clear()
                continue
            seen.add(real)
            folders[:] = sorted(f for f in folders if not f.startswith(('.', '__MACOSX')))
            for path in (Path(folder, n) for n in sorted(names) if not n.startswith('.')):
                (self.files if path.is_file() else self.odd).append(path)

    def ending(self, *suffixes: str) -> list[Path]:
        return [path for path in self.files if path.suffix.lower() in suffixes]

    @cached_property
    def images(self) -> list[Path]:
        return self.ending(*IMAGE_SUFFIXES)

    @cached_property
    def by_stem(self) -> dict[str, list[Path]]:
        """Images by the name without suffix."""
        found: dict[str, list[Path]] = {}
        for path in self.images:
            found.setdefault(path.stem, []).append(path)
        return found

    def split_of(self, path: Path) -> str | None:
        """What the folders on the way to a file call its split."""
        for part in path.relative_to(self.root).parts[:-1]:
            if name := split_name(part):
                return name
        return None

    def nearest(self, candidates: Sequence[Path], file: Path) -> list[Path]:
        """Those of several images of one name that lie beside a file, or else in its split."""
        for fits in (
            [path for path in candidates if path.parent == file.parent],
            [path for path in candidates if self.split_of(path) == self.split_of(file)],
        ):
            if len(candidates) > 1 and fits:
                return fits
        return list(candidates)

    def fingerprint(self) -> str:
        """Changes when a file is added, removed, or written again."""
        digest = hashlib.sha256()
        for path in self.files:
            state = path.stat()
            name = path.relative_to(self.root).as_posix()
            digest.update(
                f'{name}\0{state.st_size}\0{state.st_mtime_ns}\n'.encode(errors='replace')
            )
        return digest.hexdigest()


def split_name(name: str) -> str | None:
    """The split that a folder or a file is named after.

    >>> [split_name(name) for name in ('train2017', 'obj_valid_data', 'instances_test', 'trains')]
    ['train', 'val', 'test', None]
    """
    found = _SPLIT.search(name.lower())
    return _SHORT.get(found[1], found[1]) if found else None
