"""JSON and XML with limits on size and depth; XML without document types."""

from __future__ import annotations

import json
import os
import re
import xml.etree.ElementTree as ElementTree
from typing import Any
from xml.parsers import expat

import numpy as np

from .limits import Refused, beyond, limit, read_limited

_CHUNK = 2**22
_OPEN, _CLOSE, _QUOTE = b'[{', b']}', b'"'
_OTHER = bytes(set(range(256)) - set(_OPEN + _CLOSE + _QUOTE))


def read_json(path: str | os.PathLike, what: str = '') -> Any:
    """Content of a JSON file in UTF-8.

    Args:
        path: the file.
        what: what it is to the user, put before its path in messages.

    Returns:
        What the file holds. NaN and Infinity pass, as in Python's own reader: what must be finite
        is for the caller to check.

    Raises:
        FileNotFoundError: there is no such file.
        Refused: it is empty, too large, too deep, in another encoding, or no JSON.
    """
    shown = f'{what} {os.fspath(path)}'.strip()
    return parse_json(read_limited(path, 'RANKDET_MAX_JSON_MB', what), shown)


def parse_json(data: bytes, shown: str) -> Any:
    """What JSON text holds; ``shown`` names it in messages."""
    check_encoding(data, shown)
    check_depth(data, shown)
    try:
        return json.loads(data.decode('utf-8-sig'))
    except (ValueError, RecursionError) as error:  # JSONDecodeError and UnicodeDecodeError too
        raise Refused(
            f'{shown} ({len(data)} bytes) is not JSON, perhaps cut short: {error}'
        ) from None


def check_encoding(data: bytes, shown: str) -> None:
    """Refuse JSON text in UTF-16 or UTF-32, whose bytes say nothing to those that look at them."""
    encoding = json.detect_encoding(data)
    if not encoding.startswith('utf-8'):
        raise Refused(f'{shown} is in {encoding.upper()}; save it as UTF-8')


def check_depth(data: bytes, shown: str) -> None:
    """Refuse JSON text that nests too deep, before a parser recurses into it."""
    depth = json_depth(data)
    if depth > limit('RANKDET_MAX_JSON_DEPTH'):
        raise beyond(shown, f'nests lists and objects {depth} deep', 'RANKDET_MAX_JSON_DEPTH')


def json_depth(data: bytes) -> int:
    r"""How deep lists and objects nest, found without parsing.

    >>> json_depth(b'{"a": [[1], "[[["]}')
    3
    """
    if b'\\' in data:  # an escaped quote ends no string
        data = re.sub(rb'\\.', b'', data, flags=re.DOTALL)
    depth = deepest = quotes = 0
    for start in range(0, len(data), _CHUNK):
        marks = np.frombuffer(data[start : start + _CHUNK].translate(None, _OTHER), np.uint8)
        if not marks.size:
            continue
        counted = quotes + np.cumsum(marks == _QUOTE[0])
        steps = np.isin(marks, list(_OPEN)).astype(np.int64) - np.isin(marks, list(_CLOSE))
        steps[counted % 2 == 1] = 0  # inside a string
        depths = depth + np.cumsum(steps)
        deepest = max(deepest, int(depths.max()))
        depth, quotes = int(depths[-1]), int(counted[-1])
    return deepest


def read_xml(path: str | os.PathLike) -> ElementTree.Element:
    """Root of an XML file.

    A document type (DOCTYPE) is refused unread: it is the door to entities that expand without end
    or name other files, and no annotation needs one.

    Raises:
        FileNotFoundError: there is no such file.
        Refused: it is empty, too large, too deep, declares a document type, or is no XML.
    """
    return parse_xml(read_limited(path, 'RANKDET_MAX_XML_MB'), os.fspath(path))


def parse_xml(data: bytes, shown: str) -> ElementTree.Element:
    """Root of XML text; ``shown`` names it in messages."""
    deepest, depth = limit('RANKDET_MAX_XML_DEPTH'), 0

    def refuse(*_: object) -> None:
        raise Refused(f'{shown} declares a document type (DOCTYPE), which is refused')

    def enter(*_: object) -> None:
        nonlocal depth
        depth += 1
        if depth > deepest:
            found = f'nests elements more than {deepest} deep'
            raise beyond(shown, found, 'RANKDET_MAX_XML_DEPTH')

    def leave(*_: object) -> None:
        nonlocal depth
        depth -= 1

    try:
        guard = expat.ParserCreate()
        guard.StartDoctypeDeclHandler = refuse
        guard.StartElementHandler, guard.EndElementHandler = enter, leave
        guard.Parse(data, True)
        return ElementTree.fromstring(data)
    except Refused:
        raise
    except (expat.ExpatError, ElementTree.ParseError, LookupError, ValueError) as error:
        raise Refused(f'{shown} is no valid XML ({error})') from None
