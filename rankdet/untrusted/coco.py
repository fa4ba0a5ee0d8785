"""A COCO file before it is handed to MMDetection, which trusts what is in it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from functools import partial
from typing import Any

from rankdet.commands import tool_line

from .documents import check_depth, check_encoding, parse_json
from .limits import Refused, read_limited
from .names import refuse_outside

# What honest files of half a gigabyte do not have, and bytes can be searched for in a moment:
# numbers that are not finite or overflow, escapes in which anything may hide, names that climb.
_ODD_NUMBERS = [re.compile(rb'e\+?\d{3}'), re.compile(rb'E\+?\d{3}')]  # a set is 10 times slower
_ODD_NAME = re.compile(rb'"file_name"\s*:\s*"(?:[/\\]|[A-Za-z]:|[^"]*\.\.)')
_DIGITS = bytes.maketrans(b'123456789', b'0' * 9)
_LONG_NUMBER = b'0' * 200  # with e99 behind it still finite
_LARGEST = 10**12  # of anything in pixels


def coco_bytes(path: str | os.PathLike) -> bytes:
    """The text of a COCO file that may be loaded.

    Costs a search through its bytes; only a file in which something looks odd is parsed.

    Raises:
        FileNotFoundError: there is no such file.
        Refused: it is empty, too large, too deep or not in UTF-8, a number is not finite, or it
            names images outside of their folder.
    """
    data, shown = read_limited(path, 'RANKDET_MAX_JSON_MB', 'annotation file'), os.fspath(path)
    check_encoding(data, f'annotation file {shown}')
    if data.startswith(b'\xef\xbb\xbf'):
        raise Refused(
            f'annotation file {shown} begins with a byte order mark, which MMDetection cannot '
            'read; save it as UTF-8 without BOM'
        )
    check_depth(data, f'annotation file {shown}')
    if is_odd(data):
        check_coco(parse_json(data, f'annotation file {shown}'), f'annotation file {shown}')
    return data


def is_odd(data: bytes) -> bool:
    """Whether a file must be parsed to know that its numbers are finite and its names stay."""
    literal = any(word in data for word in (b'NaN', b'Infinity', b'\\u'))
    return (
        literal
        or any(odd.search(data) for odd in (_ODD_NAME, *_ODD_NUMBERS))
        or _LONG_NUMBER in data.translate(_DIGITS)
    )


def check_coco(content: Any, shown: str) -> None:
    """Refuse what MMDetection would stumble over, or leave out without a word.

    Looks at what is there: boxes, areas and sizes must be numbers below 1e12, what annotations
    belong to must be in the file, names must stay in the folder.

    Args:
        content: of the file.
        shown: the file, for messages.

    Raises:
        Refused: names the field, how many are wrong, and the id and value of the first.
    """
    if not isinstance(content, dict):
        return  # no COCO file, which others say more clearly
    entries = {key: _entries(content, key, shown) for key in ('images', 'categories')}
    for key in entries:
        _check(entries[key], key, 'id', _is_id, 'is no number or text', shown)
    known = {key: {e['id'] for e in entries[key] if 'id' in e} for key in entries}
    _check(entries['images'], 'images', 'file_name', _is_text, 'is no text', shown)
    for side in ('width', 'height'):
        _check(entries['images'], 'images', side, is_number, 'is no finite number', shown)
    found = _entries(content, 'annotations', shown)
    _check(found, 'annotations', 'bbox', _is_box, 'is not four finite numbers', shown)
    _check(found, 'annotations', 'area', is_number, 'is no finite number', shown)
    for field, key in (('image_id', 'images'), ('category_id', 'categories')):
        right = partial(_is_one_of, known[key]) if key in content else _is_id
        _check(found, 'annotations', field, right, f'is not among the {key} of the file', shown)
    names = [image['file_name'] for image in entries['images'] if 'file_name' in image]
    refuse_outside(names, shown)


def is_number(value: Any) -> bool:
    """Whether it is a finite number of a size that can be meant.

    >>> [is_number(value) for value in (1, 2.5, '3', None, True, 1e99, 10**400, float('nan'))]
    [True, True, False, False, False, False, False, False]
    """
    return type(value) in (int, float) and abs(value) < _LARGEST  # false for nan


def _entries(content: dict, key: str, shown: str) -> list[dict]:
    entries = content.get(key, [])
    if not (isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries)):
        raise Refused(
            f'{shown}: {key} is no list of objects: it is not in COCO format; {_remedy()}'
        )
    return entries


def _check(
    entries: list[dict], key: str, field: str, right: Callable[[Any], bool], what: str, shown: str
) -> None:
    wrong = [entry for entry in entries if field in entry and not right(entry[field])]
    if wrong:
        first = _short(wrong[0][field])
        more = f', and of {len(wrong) - 1} more' if len(wrong) > 1 else ''
        raise Refused(
            f'{shown}: {field} of {key} with id {_short(wrong[0].get("id"))}{more} {what}, got '
            f'{first}; {_remedy()}'
        )


def _remedy() -> str:
    return f'{tool_line("check_data", "CONFIG")} says all that is wrong in it'


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f'{text[:57]}...'


def _is_box(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(map(is_number, value))


def _is_id(value: Any) -> bool:
    return isinstance(value, (int, float, str))


def _is_one_of(ids: set, value: Any) -> bool:
    return _is_id(value) and value in ids


def _is_text(value: Any) -> bool:
    return isinstance(value, str)
