"""The measures of several results side by side, as text, Markdown, CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

FORMATS = ('text', 'markdown', 'csv', 'json')


def format_table(
    columns: Mapping[str, Mapping[str, float]],
    *,
    style: str = 'text',
    by_row: bool = False,
    raw: Sequence[str] = ('rho', 'threshold'),
) -> str:
    """One row per measure, one column per result, in percent as the papers print.

    Args:
        columns: result name to its measures by name; a measure that a result lacks, or that
            is NaN, is a dash (an empty cell in CSV, null in JSON).
        style: ``text``, ``markdown``, ``csv`` or ``json``.
        by_row: one row per result, one column per measure.
        raw: measures that stay as they are, by the part of their name after a slash. In JSON
            all do.

    >>> print(format_table({'a': {'AP': 0.3551, 'rho': 0.45}, 'b': {'AP': 0.389}}))
             a     b
    AP    35.5  38.9
    rho  0.450     -
    """
    if style not in FORMATS:
        raise ValueError(f'style must be one of {FORMATS}, got {style!r}')
    rows = list(dict.fromkeys(name for values in columns.values() for name in values))
    if style == 'json':
        return to_json(columns)
    empty = '' if style == 'csv' else '-'

    def cell(name: str, value: float) -> str:
        if math.isnan(value):
            return empty
        return f'{value:.3f}' if name.rpartition('/')[2] in raw else f'{100 * value:.1f}'

    body = [
        [name, *(cell(name, values.get(name, math.nan)) for values in columns.values())]
        for name in rows
    ]
    table = [['', *columns], *body]
    return _layout([list(row) for row in zip(*table)] if by_row else table, style)


def to_json(values: Mapping) -> str:
    """Nested numbers as JSON, NaN as null."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: plain(inner) for name, inner in value.items()}
        return None if math.isnan(value) else value

    return json.dumps(plain(values), indent=2, allow_nan=False)


def _layout(table: list[list[str]], style: str) -> str:
    if style == 'csv':
        file = io.StringIO()
        csv.writer(file, lineterminator='\n').writerows(table)
        return file.getvalue().rstrip('\n')
    if style == 'markdown':
        table = [[cell.replace('|', '\\|') for cell in row] for row in table]
    widths = [max(map(len, column)) for column in zip(*table)]
    padded = [
        [row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:]))]
        for row in table
    ]
    if style == 'text':
        return '\n'.join('  '.join(row).rstrip() for row in padded)
    rule = ['-' * max(widths[0], 3), *('-' * max(w - 1, 2) + ':' for w in widths[1:])]
    return '\n'.join('| ' + ' | '.join(row) + ' |' for row in [padded[0], rule, *padded[1:]])
