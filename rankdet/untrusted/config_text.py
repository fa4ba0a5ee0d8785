"""The text of a config as MMEngine parses it.

MMEngine puts values in the place of ``{{...}}`` before it parses, wherever they stand: outside of
strings and in comments too. What is read without running must be that same text.
"""

from __future__ import annotations

import io
import os
import re
import uuid
from pathlib import Path
from typing import NamedTuple

from .limits import Refused

_MOST = 200  # of each kind: each has the whole text searched
_LONGEST_NAME = 200
_VARIABLE = re.compile(r'\{\{[\'"]?\s*\$')
# MMEngine takes any default into a regular expression, and then as its replacement. These are what
# they say in both. Spaces without a limit would have the time grow with their square.
_PLAIN = re.compile(
    r'\{\{[\'"]?\s{0,9}\$(\w{1,200})\s{0,9}:\s{0,9}([\w./:~-]{0,200})\s{0,9}[\'"]?\}\}'
)
_FROM_BASE = re.compile(r'\{\{\s*_base_\.([\w.]+)\s*\}\}')


class ConfigText(NamedTuple):
    """What MMEngine parses.

    Attributes:
        text: of the file, with ``{{_base_.name}}`` as a string that stands for it.
        bases: these strings, and the names that they stand for.
        mark: is in all of them, and in nothing else.
    """

    text: str
    bases: dict[str, str]
    mark: str

    def original(self, piece: str) -> str:
        """A piece of the text with ``{{_base_.name}}`` as the file has it."""
        return re.sub(rf'"_([\w.]+)_{self.mark}"', r'{{_base_.\1}}', piece) if self.bases else piece


def decoded(content: bytes) -> str:
    """The text of a file, of which MMEngine takes no other encoding than UTF-8.

    Raises:
        Refused: it is in another encoding.
    """
    try:
        return io.TextIOWrapper(io.BytesIO(content), encoding='utf-8').read()
    except UnicodeDecodeError as error:
        raise Refused(f'is not UTF-8 ({error})') from None


def put_in(text: str, path: Path, most: int) -> ConfigText:
    """Put in what MMEngine puts in, in its order: what one puts in may make another.

    Args:
        text: of the file.
        path: of the file, absolute, as MMEngine has it: with links that were not followed.
        most: characters that may come of it.

    Raises:
        Refused: more comes of it; or a variable, its default or its value may be code.
    """
    folder, name = os.path.split(path)
    stem, end = os.path.splitext(name)
    names = dict(fileDirname=folder, fileBasename=name, fileBasenameNoExtension=stem)
    for key, value in {**names, 'fileExtname': end}.items():
        text = _replaced(rf'\{{\{{\s*{key}\s*\}}\}}', value.replace('\\', '/'), text, most)
    for key, default in _variables(text):
        pattern = rf'\{{\{{[\'"]?\s*\${key}\s*\:\s*{default}\s*[\'"]?\}}\}}'
        text = _replaced(pattern, _value(key, default), text, most)
    return _bases(text, most)


def _replaced(pattern: str, value: str, text: str, most: int) -> str:
    found = len(re.findall(pattern, text))
    if found and not value.isprintable():
        raise Refused(f'takes in {value!r}, which is no plain name')
    if len(text) + found * len(value) > most:
        raise Refused('grows too large by what MMEngine puts in')
    return re.sub(pattern, lambda _: value, text)


def _variables(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for start in _VARIABLE.finditer(text):
        plain = _PLAIN.match(text, start.start())
        if plain is None or len(found) == _MOST:
            shown = ' '.join(text[start.start() :][:80].split())
            reason = (
                f'is one of more than {_MOST}' if plain else 'is no plain {{$NAME:word/or/path}}'
            )
            raise Refused(f'has a variable that {reason}: {shown!r}')
        found.append((plain[1], plain[2]))
    return found


def _value(name: str, default: str) -> str:
    value = os.environ.get(name, default)
    if not value:
        raise Refused(f'needs the environment variable {name}, which is not set')
    if value != value.strip() or set(value) & set('\'"\\{}$'):
        raise Refused(f'takes in the environment variable {name}, which is no plain word or path')
    return value


def _bases(text: str, most: int) -> ConfigText:
    mark, bases = uuid.uuid4().hex, {}
    names = sorted(set(_FROM_BASE.findall(text)))
    if len(names) > _MOST or any(len(name) > _LONGEST_NAME for name in names):
        raise Refused('has too many {{_base_.name}}, or too long ones')
    for name in names:
        pattern = rf'\{{\{{\s*_base_\.({name})\s*\}}\}}'  # a point is any character here
        if set(re.findall(pattern, text)) - {name}:
            raise Refused(f'has {{{{_base_.{name}}}}} and another that MMEngine takes for it')
        bases[f'_{name}_{mark}'] = name
        text = _replaced(pattern, f'"_{name}_{mark}"', text, most)
    return ConfigText(text, bases, mark)
