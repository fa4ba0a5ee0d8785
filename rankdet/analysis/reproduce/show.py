"""Tables as text: the papers' numbers, ours and the difference."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping

from rankdet.analysis.paper_tables import PROVENANCE, Row, Table

from .columns import decimals

FORMATS = ('markdown', 'csv', 'json')
_LOST = '†'
_LOST_NOTE = f'{_LOST} not in the texts at hand: lost there, if the paper prints it.'


def format_tables(tables: Iterable[Table], style: str = 'markdown') -> str:
    """Tables with the paper's numbers, ours and the difference, ready to print.

    Args:
        tables: What to show.
        style: 'markdown', 'csv' (one header for each table) or 'json' (a list).

    Raises:
        ValueError: The style is another.
    """
    tables = list(tables)
    if style == 'markdown':
        return '\n\n'.join(map(_page, tables))
    if style == 'csv':
        return '\n\n'.join(map(_csv, tables))
    if style == 'json':
        return json.dumps(list(map(_as_dict, tables)), indent=2, allow_nan=False)
    raise ValueError(f'style must be one of {FORMATS}, got {style!r}')


def markdown_table(table: Table) -> str:
    """A Markdown table: after each column of the paper ours, with the difference in brackets.

    What is not measured, or not printed, stays blank; what the texts have lost is marked. A table
    that no paper has shows our numbers alone.

    >>> row = Row('p', 't', 'a', 'delta = 1', columns=('AP',), paper={'AP': 53.1})
    >>> print(markdown_table(Table('p', 't', 'A table', ('AP',), (row,))))
    |           |   AP | ours |
    | --------- | ---: | ---: |
    | delta = 1 | 53.1 |      |
    """
    shown = slice(None) if table.in_a_paper else slice(1, None)
    names = [(column, 'ours') if table.in_a_paper else ('', column) for column in table.columns]
    header = ['', *(cell for pair in names for cell in pair[shown])]
    body = [
        [_label(row), *(cell for c in table.columns for cell in _two_cells(row, c)[shown])]
        for row in table.rows
    ]
    cells = [[cell.replace('|', r'\|') for cell in line] for line in [header, *body]]
    widths = [max(map(len, column)) for column in zip(*cells)]
    lines = [
        [line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:]))]
        for line in cells
    ]
    rule = ['-' * widths[0], *('-' * (width - 1) + ':' for width in widths[1:])]
    text = '\n'.join(f'| {" | ".join(line)} |' for line in [lines[0], rule, *lines[1:]])
    return f'{text}\n\n{_LOST_NOTE}' if any(row.lost for row in table.rows) else text


def _page(table: Table) -> str:
    parts = [f'### {table.address}: {table.title}']
    parts += [part for part in (table.source, table.notes.strip()) if part]
    parts.append(markdown_table(table))
    return '\n\n'.join([*parts, *_provenance(table)])


def _provenance(table: Table) -> Iterator[str]:
    """Where our numbers come from: a line for each row, and one for what all of them share."""
    measured = [row for row in table.rows if row.ours]
    facts = [
        {key: _fact(row, key) for key in PROVENANCE if key in (row.ours or ())} for row in measured
    ]
    common = {
        key: value
        for key, value in (facts[0] if len(facts) > 1 else {}).items()
        if all(other.get(key) == value for other in facts)
    }
    for row, own in zip(measured, facts):
        texts = [f'{key.lower()} {own[key]}' for key in own if key not in common]
        if texts:
            yield f'{row.label}: {"; ".join(texts)}'
    if common:
        yield f'All of them: {"; ".join(f"{key.lower()} {common[key]}" for key in common)}'


def _fact(row: Row, key: str) -> str:
    value = (row.ours or {}).get(key, '')
    if isinstance(value, Mapping):
        return ', '.join(f'{name} {version}' for name, version in value.items())
    return str(value)


def _label(row: Row) -> str:
    """As the table prints it, with what makes our number another than that."""
    remark = (row.ours or {}).get('Remark')
    return f'{row.label} (ours {remark})' if remark else row.label


def _two_cells(row: Row, column: str) -> tuple[str, str]:
    printed, ours, difference = _cell(row, column)
    digits = decimals(column)
    left = _LOST if column in row.lost else '' if printed is None else f'{printed:.{digits}f}'
    right = '' if ours is None else f'{ours:.{digits}f}'
    return left, right if difference is None else f'{right} ({difference:+.{digits}f})'


def _cell(row: Row, column: str) -> tuple[float | None, float | None, float | None]:
    """The paper's number, ours, and how much ours is above it, as far as they are printed."""
    printed, ours = row.paper.get(column), row.measured.get(column)
    if printed is None or ours is None:
        return printed, ours, None
    digits = decimals(column)
    return printed, ours, round(round(ours, digits) - printed, digits) + 0.0  # + 0.0: no -0.0


def _csv(table: Table) -> str:
    kinds = ('paper', 'ours', 'difference')
    header = ['row', 'label', *(f'{column} {kind}' for column in table.columns for kind in kinds)]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator='\n')
    writer.writerow([*header, 'lost', *map(str.lower, PROVENANCE)])
    for row in table.rows:
        numbers = [value for column in table.columns for value in _cell(row, column)]
        source = [_fact(row, key) for key in PROVENANCE]
        writer.writerow([row.address, _label(row), *numbers, ' '.join(row.lost), *source])
    return file.getvalue().rstrip('\n')


def _as_dict(table: Table) -> dict:
    shown = (*PROVENANCE, 'Remark')
    kinds = ('paper', 'ours', 'difference')
    rows = [
        dict(
            row=row.address,
            label=row.label,
            numbers={column: dict(zip(kinds, _cell(row, column))) for column in table.columns},
            lost=list(row.lost),
            provenance={k: v for k, v in row.ours.items() if k in shown} if row.ours else None,
        )
        for row in table.rows
    ]
    return dict(table=table.address, title=table.title, source=table.source, rows=rows)
