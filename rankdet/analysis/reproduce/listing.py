"""What there is to reproduce: papers, tables, rows, their data, and what is measured."""

from __future__ import annotations

from collections.abc import Iterable

from rankdet.analysis.paper_tables import Row, Table

from .plan import as_arguments


def list_tables(tables: Iterable[Table]) -> str:
    """Tables and their rows, as text."""
    lines: list[str] = []
    folder = None
    for table in tables:
        if table.folder != folder:
            folder = table.folder
            lines += [*([''] if lines else []), folder]
        trained = [row for row in table.rows if row.config]
        count = f'{sum(bool(row.measured) for row in trained)} of {len(trained)} rows measured'
        lines += ['', f'  {table.address}: {table.title} ({count})']
        width = max(len(row.name) for row in table.rows)
        lines += [f'    {row.name:<{width}}  {_row(row)}' for row in table.rows]
    return '\n'.join(lines)


def _row(row: Row) -> str:
    if not row.config:
        return "the paper's number alone"
    state = 'measured' if row.measured else 'not measured'
    data = f'{row.data or "?"} -> {row.test_data or row.data or "?"}'
    options = ' '.join(as_arguments({**row.options, **row.test_options}, row.address))
    several = 'several scales' if row.tta else ''
    parts = [state, data, row.model or '', options, several]
    return ', '.join(part for part in parts if part)
