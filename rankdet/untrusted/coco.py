"""A COCO file before it is handed to MMDetection, which trusts what is in it."""

from __future__ import annotations

import math
import os
import re
from typing import Any

from .documents import check_depth, parse_json
from .limits import Refused, read_limited
from .names import refuse_outside

# What honest files of half a gigabyte do not have, and bytes can be searched for in a moment:
# numbers that are not finite or overflow, escapes in which anything may hide, names that climb.
_ODD_NUMBERS = [re.compile(rb'e\+?\d{3}'), re.compile(rb'E\+?\d{3}')]  # a set is 10 times slower
_ODD_NAME = re.compile(rb'"file_name"\s*:\s*"(?:[/\\]|[A-Za-z]:|[^"]*\.\.)')


def coco_bytes(path: str | os.PathLike) -> bytes:
    """The text of a COCO file that may be loaded.

    Costs a search through its bytes; only a file in which something looks odd is parsed.

    Raises:
        FileNotFoundError: there is no such file.
        Refused: it is empty, too large or too deep, a box or a size is not finite, or it names
            images outside of their folder.
    """
    data, shown = read_limited(path, 'RANKDET_MAX_JSON_MB', 'annotation file'), os.fspath(path)
    check_depth(data, f'annotation file {shown}')
    if is_odd(data):
        check_coco(parse_json(data, f'annotation file {shown}'), f'annotation file {shown}')
    return data


def is_odd(data: bytes) -> bool:
    """Whether a file must be parsed to know that it is harmless."""
    literal = any(word in data for word in (b'NaN', b'Infinity', b'\\u'))
    return literal or any(odd.search(data) for odd in (_ODD_NAME, *_ODD_NUMBERS))


def check_coco(content: Any, shown: str) -> None:
    """Refuse boxes and sizes that are not finite, and names that leave the folder."""
    if not isinstance(content, dict):
        return  # no COCO file, which others say more clearly
    names = []
    for key, fields in (('images', ('width', 'height')), ('annotations', ('bbox', 'area'))):
        entries = content.get(key)
        for entry in entries if isinstance(entries, list) else ():
            if not isinstance(entry, dict):
                continue
            for field in fields:
                if not _is_finite(entry.get(field, 0)):
                    raise Refused(
                        f'{shown}: {field} of {key} with id {entry.get("id")!r} is not finite'
                    )
            if isinstance(entry.get('file_name'), str):
                names.append(entry['file_name'])
    refuse_outside(names, shown)


def _is_finite(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)
