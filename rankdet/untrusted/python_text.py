"""Parsing Python that somebody else wrote, in bounded time and without breaking down."""

from __future__ import annotations

import ast
import re
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

from .limits import Refused

_MOST_FIELDS = 10**4
_F_STRING = re.compile(r'\b(?:f|fr|rf)["\']', re.IGNORECASE | re.ASCII)
_STACK = 2**28  # bytes of addresses; what is not used takes no memory


def parse(text: str) -> ast.Module:
    """The syntax tree of a file of up to a million characters.

    Text and not bytes: of these Python's parser would follow ``# coding: ...``.

    Raises:
        Refused: it is no Python, nests too deep, or has too many fields of f-strings: the time
            that Python's parser takes grows with their square.
        RecursionError: it nests too deep.
    """
    if _F_STRING.search(text) and text.count('{') > _MOST_FIELDS:
        raise Refused(f'has f-strings and more than {_MOST_FIELDS} braces')
    try:
        return ast.parse(text) if sys.version_info >= (3, 11) else _parse_deep(text)
    except (SyntaxError, ValueError, MemoryError) as error:
        reason = str(error) or 'it nests too deep'  # the parser's MemoryError says nothing
        raise Refused(f'is no Python ({reason})') from None


def _parse_deep(text: str) -> ast.Module:
    """Python 3.10 looks at no limit: ``1+1+...`` of 300 kB would overflow an ordinary stack."""
    ordinary = threading.stack_size(_STACK)
    try:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(ast.parse, text).result()
    finally:
        threading.stack_size(ordinary)


def parse_filled(raw: str, text: str) -> ast.Module:
    """MMEngine runs the text with what it put in, unless there are imports in the one without."""
    tree = parse(text)
    if raw != text and _imports(parse(raw)) and not _imports(tree):
        raise Refused('has imports that a {{...}} turns into something else')
    return tree


def _imports(tree: ast.Module) -> bool:
    kinds = (ast.Import, ast.ImportFrom, ast.With)
    return any(isinstance(node, kinds) for node in ast.walk(tree))
