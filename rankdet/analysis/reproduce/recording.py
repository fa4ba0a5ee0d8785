"""Putting a result into a table: into the metafile, and into the README that shows it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from rankdet.analysis.paper_tables import METAFILE, Row, read_metafile
from rankdet.engine.errors import UserError

from .records import append_result, as_ours, read_results, write_ours, write_whole
from .show import format_tables

#: What a README has around its tables.
TABLES = re.compile(r'(?<=<!-- tables -->\n\n).*(?=\n\n<!-- end of tables -->)', re.DOTALL)
_BY_SERVER = '; measured by the server'


def record(row: Row, entry: Mapping, root: Path) -> None:
    """Put a result into the metafile of its row, and into the README beside it.

    Raises:
        UserError: It is not a result of the row as the paper trained it.
    """
    if remark := entry.get('remark'):
        raise UserError(f'{row.address} was trained {remark}; its table is for others')
    path = root / 'configs' / row.folder / METAFILE
    write_ours(path, row, as_ours(entry))
    write_tables(path)


def write_tables(metafile: Path) -> None:
    """Show the tables of a metafile in the README beside it, between its marks, if it has any."""
    readme = metafile.with_name('README.md')
    before = readme.read_text(encoding='utf-8') if readme.is_file() else ''
    after = TABLES.sub(lambda _: format_tables(read_metafile(metafile).tables), before)
    if after != before:
        write_whole(readme, after)


def record_given(row: Row, numbers: Iterable[str], root: Path, results: Path) -> dict:
    """Put the result of a row's last run into its metafile.

    Args:
        row: The row.
        numbers: What a server measured, ``column=number`` in the table's units; nothing takes
            what the run itself measured.
        root: Folder that holds ``configs/``.
        results: Where the run left its result.

    Returns:
        dict: What was recorded.

    Raises:
        UserError: There is no run, or the numbers are not those that it waits for.
    """
    entry = read_results(results).get(row.address)
    if not entry:
        raise UserError(
            f'{row.address} was not run in {results.parent}; no number stands without a run'
        )
    given = _numbers(numbers, row)
    if given and 'archive' not in entry:
        raise UserError(f'{row.address} is measured by its run; give no numbers')
    if given:
        command = f'{entry["command"].removesuffix(_BY_SERVER)}{_BY_SERVER}'
        entry = entry | dict(metrics=given, command=command)
        append_result(results, entry)
    if not entry['metrics']:
        raise UserError(f'{row.address} waits for the numbers of the server: COLUMN=NUMBER')
    record(row, entry, root)
    return entry


def _numbers(given: Iterable[str], row: Row) -> dict[str, float]:
    found = {}
    for text in given:
        column, _, number = text.partition('=')
        try:
            found[column] = float(number)
        except ValueError:
            raise UserError(f'expected COLUMN=NUMBER, got {text}') from None
        if column not in row.columns or not 0 <= found[column] <= 100:
            columns = ', '.join(row.columns)
            raise UserError(f'{text}: a column is one of {columns}, a number from 0 to 100')
    if found and max(found.values()) <= 1:
        text = ' '.join(f'{column}={number:g}' for column, number in found.items())
        raise UserError(f'{text}: numbers are fractions; give them in percent, e.g. 41.7')
    return found
