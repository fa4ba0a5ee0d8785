"""Names that strangers give: of files, which must stay in their folder, and of classes."""

from __future__ import annotations

import os
import posixpath
import re
import unicodedata
from collections.abc import Iterable

from .limits import Refused

#: Set to 1 where annotations may name files anywhere on this machine.
OUTSIDE = 'RANKDET_ALLOW_OUTSIDE_FILES'

#: Control characters, halves of characters, and ends of lines and paragraphs.
_UNFIT = {'Cc', 'Cs', 'Zl', 'Zp'}


def visible(text: str) -> str:
    r"""Text with an escape for each character that would do something other than show itself.

    A terminal obeys some: they clear it, colour it, or turn round what follows.

    >>> print(visible('grün\x1b[2J\u202e'))
    grün\x1b[2J\u202e
    """
    return ''.join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def refuse_unfit_names(names: Iterable[str], where: str) -> None:
    """Refuse names of classes with characters that no name has, such as control characters.

    Raises:
        Refused: names the first of them.
    """
    for name in names:
        if not _UNFIT.isdisjoint(map(unicodedata.category, name)):
            raise Refused(f'{where}: the name of class {name!r} holds control characters')


def leaves_folder(name: str) -> bool:
    r"""Whether a file name, joined to a folder, may lie outside of it, on any system.

    >>> [leaves_folder(n) for n in ('a/b.jpg', 'a/../b.jpg', '../b.jpg', '/b.jpg', 'C:\\b.jpg')]
    [False, False, True, True, True]
    """
    path = posixpath.normpath(name.replace('\\', '/'))
    climbs = path == '..' or path.startswith('../')
    return climbs or path.startswith('/') or '\0' in name or bool(re.match('[A-Za-z]:', name))


def refuse_outside(names: Iterable[str], where: str) -> None:
    """Refuse file names that leave their folder, unless ``RANKDET_ALLOW_OUTSIDE_FILES=1``.

    Args:
        names: as the annotations give them.
        where: the annotation file, for the message.

    Raises:
        Refused: names the first of them, how many there are, and the remedy.
    """
    outside = [name for name in names if leaves_folder(name)]
    if outside and os.environ.get(OUTSIDE) != '1':
        raise Refused(
            f'{where} names {len(outside)} files outside of its folder of images, such as '
            f'{outside[0]!r}; write names relative to that folder, or, if files anywhere on this '
            f'machine may be read, set {OUTSIDE}=1'
        )
