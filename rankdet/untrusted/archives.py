"""Unpacking zip and tar archives: looked through to the end before the first file is written."""

from __future__ import annotations

import errno
import gzip
import lzma
import os
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

from .limits import Refused, beyond, limit
from .names import leaves_folder

_DAMAGE = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error, EOFError),
    *(ValueError, NotImplementedError, RuntimeError, OverflowError, IndexError, KeyError),
)
_LONGEST_NAME = 255  # bytes, of what most file systems take


class _TarInfo(tarfile.TarInfo):
    """Refuses headers that tarfile would read into memory whatever their size."""

    def _proc_member(self, file: tarfile.TarFile) -> tarfile.TarInfo:
        if self.size > 2**20 and not (self.isreg() or self.isdir()):
            raise tarfile.ReadError(f'a header of {self.size} bytes')
        return super()._proc_member(file)  # type: ignore[misc]  # stubs lack it


def _open_tar(archive: Path) -> tarfile.TarFile:
    return tarfile.TarFile.open(archive, tarinfo=_TarInfo)


class _Member(NamedTuple):
    """A file in an archive."""

    name: str
    size: int
    open: Callable[[], IO[bytes]]


def unpack(
    archive: str | os.PathLike,
    folder: str | os.PathLike,
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> list[Path]:
    """Unpack a zip or tar archive, compressed or not, into a folder.

    All names and sizes, and what is in the folder, are looked at first, so that what is refused for
    them writes nothing; where the content of a file turns out damaged, those before it are there
    and whole. Files that are there with the same size stay, so that an interrupted call can be
    repeated; others are never overwritten. Owners and permissions in the archive are not taken
    over.

    Args:
        archive: the file.
        folder: made if it is not there.
        progress: called as ``progress(stage, done, total)``.

    Returns:
        The files of the archive.

    Raises:
        FileNotFoundError: there is no archive.
        FileExistsError: a file is there already, with another size, or where a folder would be; or
            a folder is a link that leads out.
        Refused: it is no archive or damaged; a name leaves the folder; it holds links or devices,
            or a name twice; or it unpacks to more than the limits, or than the disk has left.
    """
    archive, folder = Path(archive), Path(folder)
    if not archive.is_file():
        raise FileNotFoundError(f'archive {archive} does not exist')
    if not archive.stat().st_size:
        raise Refused(f'archive {archive} is empty (0 bytes)')
    with _refusing_damage(archive):
        is_zip = zipfile.is_zipfile(archive)
        opened: Any = zipfile.ZipFile(archive) if is_zip else _open_tar(archive)
        with opened:
            members = list((_zip_members if is_zip else _tar_members)(opened, archive))
            _check(members, archive, folder)
            for done, member in enumerate(members, 1):
                _write(member, folder.joinpath(*_parts(member.name)))
                progress(f'unpacking {archive}', done, len(members))
    return [folder.joinpath(*_parts(member.name)) for member in members]


def refuse_bomb(path: str | os.PathLike) -> None:
    """Refuse a zip file that unpacks to far more than it is; anything else passes.

    For what is read by others, such as a checkpoint.

    Raises:
        Refused: it is beyond the limits.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as file:
            total = sum(info.file_size for info in file.infolist())
    except (*_DAMAGE, OSError):
        return
    if total > _most_bytes(path):
        raise _too_much(path, total)


@contextmanager
def _refusing_damage(archive: Path) -> Iterator[None]:
    try:
        yield
    except Refused:
        raise
    except (*_DAMAGE, OSError) as error:
        # Decompressors raise bare OSErrors, or jump to a place that is none; the system's, such as
        # of a full disk, have another number.
        if isinstance(error, OSError):
            bare = type(error) in (OSError, gzip.BadGzipFile)
            if not (bare and error.errno in (None, errno.EINVAL)):
                raise
        raise Refused(f'archive {archive} is damaged or no zip or tar ({error})') from error


def _zip_members(file: zipfile.ZipFile, archive: Path) -> Iterator[_Member]:
    for info in file.infolist():
        mode = info.external_attr >> 16
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise Refused(f'archive {archive}: {info.filename!r} is a link or device')
        if info.flag_bits & 1:
            raise Refused(f'archive {archive}: {info.filename!r} is encrypted')
        if not info.is_dir():
            yield _Member(info.filename, info.file_size, partial(file.open, info))


def _tar_members(file: tarfile.TarFile, archive: Path) -> Iterator[_Member]:
    budget = _most_bytes(archive)
    for info in file:  # a compressed one is read through here: stop before it has cost too much
        if info.offset_data + info.size > budget:
            raise _too_much(archive, info.offset_data + info.size)
        if not (info.isreg() or info.isdir()):
            raise Refused(f'archive {archive}: {info.name!r} is a link or device')
        if info.issparse():
            raise Refused(f'archive {archive}: {info.name!r} is sparse')
        if info.isreg():
            extract: Any = file.extractfile  # None only for what is no file
            yield _Member(info.name, info.size, partial(extract, info))


def _check(members: list[_Member], archive: Path, folder: Path) -> None:
    if not members:
        raise Refused(f'archive {archive} holds no file')
    there = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    if not there.is_dir():
        raise FileExistsError(f'{there} is a file: name a folder to unpack into')
    real, entered = folder.resolve(), {folder}
    seen: set[str] = set()
    total = 0
    for name, size, _ in members:
        parts = _parts(name)
        if leaves_folder(name) or not parts:
            raise Refused(f'archive {archive}: {name!r} would be written outside of the folder')
        if '..' in parts or max(len(os.fsencode(part)) for part in parts) > _LONGEST_NAME - 20:
            raise Refused(f'archive {archive}: {name!r} is no name for a file')
        # One file system may tell apart what another writes over each other.
        same = '/'.join(parts).casefold()
        if same in seen:
            raise Refused(f'archive {archive}: {name!r} occurs twice')
        seen.add(same)
        total += size
        path = folder.joinpath(*parts)
        if path.is_symlink() or (path.exists() and not _is_done(path, size)):
            raise FileExistsError(f'{path} is there already, and not as in {archive}: move it away')
        for above in path.parents:
            if above in entered:
                break
            entered.add(above)
            _check_above(above, real, archive)
    both = next((name for name in seen for above in _above(name) if above in seen), None)
    if both:
        raise Refused(f'archive {archive}: {both!r} lies in what is a file')
    if total > _most_bytes(archive):
        raise _too_much(archive, total)
    free = shutil.disk_usage(there).free
    if total > free:
        raise Refused(
            f'archive {archive} unpacks to {total / 1e9:.1f} GB, {there} has {free / 1e9:.1f} GB '
            'left'
        )


def _check_above(path: Path, folder: Path, archive: Path) -> None:
    """Of a folder that would be made, or is there; ``folder`` is resolved."""
    if os.path.lexists(path) and not path.is_dir():
        raise FileExistsError(
            f'{path} is there already, and no folder as in {archive}: move it away'
        )
    if path.is_symlink() and not path.resolve().is_relative_to(folder):
        raise FileExistsError(f'{path} is a link that leads out of the folder: move it away')


def _above(name: str) -> Iterator[str]:
    """Its folders."""
    parts = name.split('/')
    return ('/'.join(parts[:end]) for end in range(1, len(parts)))


def _is_done(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _most_bytes(archive: Path) -> int:
    by_ratio = archive.stat().st_size * limit('RANKDET_MAX_UNPACKED_RATIO') + 10**6
    return min(by_ratio, limit('RANKDET_MAX_UNPACKED_GB') * 10**9)


def _too_much(archive: Path, total: int) -> Refused:
    most = limit('RANKDET_MAX_UNPACKED_GB')
    if total > most * 10**9:
        found = f'unpacks to {total / 1e9:.1f} GB'
        return beyond(str(archive), found, 'RANKDET_MAX_UNPACKED_GB', ' GB')
    ratio = total / archive.stat().st_size
    found = f'unpacks to {ratio:.0f} times its size'
    return beyond(str(archive), found, 'RANKDET_MAX_UNPACKED_RATIO', ' times')


def _write(member: _Member, path: Path) -> None:
    """Write one file, there complete or not at all, and no longer than was promised."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f'.{path.name}.{os.getpid()}.part')
    try:
        with member.open() as source, part.open('xb') as target:
            left = member.size
            while block := source.read(min(left + 1, 2**20)):
                left -= len(block)
                if left < 0:
                    break
                target.write(block)
        if left:
            raise Refused(f'{member.name!r} is not as long as the archive says')
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _parts(name: str) -> tuple[str, ...]:
    return tuple(part for part in name.split('/') if part not in ('', '.'))
