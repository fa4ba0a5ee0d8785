"""Parsing Python that somebody else wrote, in bounded time and without breaking down."""

from __future__ import annotations

import ast
import re
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

from .limits import Refused

_MOST_FIELDS = 10**4
_F_STRING = re.compile(rb'\b(?:f|fr|rf)["\']', re.IGNORECASE)
_STACK = 2**28  # bytes of addresses; what is not used takes no memory


def parse(content: bytes) -> ast.Module:
    """The syntax tree of a file of up to a million bytes.

    Raises:
        Refused: it is no Python, nests too deep, or has too many fields of f-strings: the time
            that Python's parser takes grows with their square.
        RecursionError: it nests too deep.
    """
    if _F_STRING.search(content) and content.count(b'{') > _MOST_FIELDS:
        raise Refused(f'has f-strings and more than {_MOST_FIELDS} braces')
    try:
        return ast.parse(content) if sys.version_info >= (3, 11) else _parse_deep(content)
    except (SyntaxError, ValueError, MemoryError) as error:
        reason = str(error) or 'it nests too deep'  # the parser's MemoryError says nothing
        raise Refused(f'is no Python ({reason})') from None


def _parse_deep(content: bytes) -> ast.Module:
    """Python 3.10 looks at no limit: ``1+1+...`` of 300 kB would overflow an ordinary stack."""
    ordinary = threading.stack_size(_STACK)
    try:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(ast.parse, content).result()
    finally:
        threading.stack_size(ordinary)
