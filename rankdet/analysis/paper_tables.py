"""The papers' tables as ``configs/<folder>/metafile.yml`` holds them: their numbers beside ours.

A row has an address, ``<folder>/<table>/<row>``. Its numbers are those that the paper prints, and
ours once they are measured. A cell that the paper prints but that the texts have lost is marked.
"""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mmengine.fileio import load

from rankdet.commands import tool_line

__all__ = [
    *('Paper', 'Row', 'Table', 'find_rows', 'find_tables', 'read_metafile', 'read_papers'),
    'with_results',
]

METAFILE = 'metafile.yml'
#: What a number of ours has to come with, or its cell stays blank.
PROVENANCE = ('Command', 'Seed', 'Device', 'Commit', 'Date', 'Versions')
#: Where VOC and COCO are measured; the last two by a server, which has their annotations.
TEST_SETS = ('VOC2007 test', 'COCO minival', 'VOC2012 test', 'COCO test-dev')
#: What can measure a row: tools/<name>.py.
TOOLS = ('test', 'robustness')


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        folder, table, name: its address.
        label: how the table prints it.
        model, config: the config that trains it; None where the paper only quotes the row.
        options: config entries for training and test, by dotted key.
        test_options: config entries for the test alone.
        data, test_data: what it is trained and tested on.
        tta: test-time augmentation.
        paper: column to the number that the paper prints.
        lost: columns whose number the texts have lost.
        ours: ``Metrics`` and their provenance, or None.
        metrics: column to the metric that measures it, where that is not the usual one.
        tool: what measures it, one of ``TOOLS``.
    """

    folder: str
    table: str
    name: str
    label: str
    model: str | None = None
    config: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    test_options: Mapping[str, Any] = field(default_factory=dict)
    data: str | None = None
    test_data: str | None = None
    tta: bool = False
    columns: tuple[str, ...] = ()
    paper: Mapping[str, float] = field(default_factory=dict)
    lost: tuple[str, ...] = ()
    ours: Mapping[str, Any] | None = None
    metrics: Mapping[str, str] = field(default_factory=dict)
    tool: str = 'test'

    @property
    def address(self) -> str:
        return f'{self.folder}/{self.table}/{self.name}'

    @property
    def measured(self) -> Mapping[str, float]:
        """Column to our number."""
        return (self.ours or {}).get('Metrics') or {}

    @property
    def test_env(self) -> dict[str, str]:
        """What the data set configs read from the environment."""
        if self.test_data is None or not self.test_data.startswith('COCO'):
            return {}
        return {'COCO_TEST': self.test_data.removeprefix('COCO ')}

    @property
    def withheld(self) -> bool:
        """Whether only a server can measure it."""
        return self.test_data in TEST_SETS[2:]


@dataclass(frozen=True)
class Table:
    """A table: ``rows`` under ``columns``, with the paper's ``title`` and where it stands."""

    folder: str
    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    source: str = ''
    data: str | None = None
    notes: str = ''

    @property
    def address(self) -> str:
        return f'{self.folder}/{self.name}'

    @property
    def in_a_paper(self) -> bool:
        """Whether a paper prints any of it."""
        return any(row.paper or row.lost for row in self.rows)


@dataclass(frozen=True)
class Paper:
    """The tables of one metafile."""

    folder: str
    path: Path
    tables: tuple[Table, ...]


def read_papers(configs: str | os.PathLike) -> list[Paper]:
    """Every metafile below a folder of configs.

    Raises:
        ValueError: There is none, or one is faulty.
    """
    paths = sorted(Path(configs).glob(f'*/{METAFILE}'))
    if not paths:
        raise ValueError(f'{configs} has no */{METAFILE}; it must be the folder of the configs')
    return [read_metafile(path) for path in paths]


def read_metafile(path: str | os.PathLike) -> Paper:
    """Read the tables of a ``metafile.yml`` and check that they make sense.

    Raises:
        ValueError: Names the file, the row and what is wrong there.
    """
    path = Path(path)
    folder = path.parent.name
    try:
        content = load(str(path), file_format='yml')
    except OSError:
        raise
    except Exception as error:  # of YAML, whose errors take several lines
        raise ValueError(f'{path} is no YAML: {" ".join(str(error).split())}') from error
    _demand(isinstance(content, dict), f'{path} must hold Collections, Models and Tables')
    models = {}
    for model in content.get('Models') or ():
        name = _text(model, 'Name', f'{path}, Models')
        _demand(name not in models, f'{path}: there are two models {name!r}')
        models[name] = _text(model, 'Config', f'{path}, model {name!r}')
    tables = [_table(folder, entry, models, path) for entry in content.get('Tables') or ()]
    _all_differ([table.name for table in tables], f'{path}: there are two tables')
    return Paper(folder, path, tuple(tables))


def find_tables(papers: Iterable[Paper], target: str) -> list[Table]:
    """The tables that a name stands for: ``table``, ``folder/table``, ``folder`` or ``all``.

    Raises:
        ValueError: There is none, or several folders have a table of that name.
    """
    tables = [table for paper in papers for table in paper.tables]
    for fits in (
        [table for table in tables if target in ('all', table.folder)],
        [table for table in tables if table.address == target],
    ):
        if fits:
            return fits
    fits = [table for table in tables if table.name == target]
    _demand(len(fits) < 2, f'{target} is in {_join(table.address for table in fits)}: say which')
    return fits or _unknown(target, [n for t in tables for n in (t.folder, t.address, t.name)])


def find_rows(papers: Iterable[Paper], targets: Iterable[str]) -> list[Row]:
    """The rows that names stand for, each once: rows, tables, folders or ``all``.

    Raises:
        ValueError: A name is unknown, or several tables fit.
    """
    papers = list(papers)
    found: dict[str, Row] = {}
    tables = [table for paper in papers for table in paper.tables]
    names = [name for table in tables for name in (table.folder, table.address, table.name)]
    rows = [row for table in tables for row in table.rows]
    for target in targets:
        fits = [row for row in rows if target in (row.address, f'{row.table}/{row.name}')]
        _demand(len(fits) < 2, f'{target} is {_join(row.address for row in fits)}: say which')
        if not fits and (target == 'all' or target in names):
            fits = [row for table in find_tables(papers, target) for row in table.rows]
        if not fits:
            _unknown(target, [*names, *(row.address for row in rows)])
        found |= {row.address: row for row in fits}
    return list(found.values())


def with_results(table: Table, results: Mapping[str, Mapping[str, Any]]) -> Table:
    """A table with results put in by address, each as a metafile's ``Ours`` has it."""
    rows = (replace(row, ours=results.get(row.address, row.ours)) for row in table.rows)
    return replace(table, rows=tuple(rows))


def _table(folder: str, entry: Any, models: Mapping[str, str], path: Path) -> Table:
    name = _address_part(entry, f'{path}, Tables')
    where = f'{path}, table {name!r}'
    columns = tuple(entry.get('Columns') or ())
    _demand(columns and all(isinstance(c, str) for c in columns), f'{where}: no list Columns')
    _all_differ(columns, f'{where}: there are two columns')
    rows = tuple(_row(folder, name, entry, row, models, path) for row in entry.get('Rows') or ())
    _demand(rows, f'{where}: no list Rows')
    _all_differ([row.name for row in rows], f'{where}: there are two rows')
    return Table(
        folder,
        name,
        _text(entry, 'Title', where),
        columns,
        rows,
        source=str(entry.get('Source') or ''),
        data=entry.get('Data'),
        notes=_notes(entry.get('Notes')),
    )


def _row(
    folder: str, table: str, entry: Mapping, row: Any, models: Mapping[str, str], path: Path
) -> Row:
    name = _address_part(row, f'{path}, rows of table {table!r}')
    where = f'{path}, row {table}/{name}'
    columns = tuple(entry['Columns'])
    model = row.get('Model')
    _demand(model is None or model in models, f'{where}: there is no model {model!r} in Models')
    options, test_options = (_mapping(row, key, where) for key in ('Options', 'Test Options'))
    printed = _mapping(row, 'Paper', where)
    metrics = _mapping(entry, 'Metrics', where) | _mapping(row, 'Metrics', where)
    lost = [column for column, value in printed.items() if value is None]
    lost += [column for column in row.get('Lost') or () if column not in lost]
    numbers = {column: value for column, value in printed.items() if value is not None}
    ours = row.get('Ours')
    for key, known in (('Paper', printed), ('Lost', lost), ('Metrics', metrics)):
        unknown = [column for column in known if column not in columns]
        _demand(not unknown, f'{where}: {key} has {unknown}, which Columns {columns} lack')
    for column, value in numbers.items():
        _demand(_is_number(value), f'{where}: Paper {column} must be a number, got {value!r}')
        _demand(column not in lost, f'{where}: {column} is both printed and lost')
    _demand(model or not ours, f'{where}: Ours without a Model')
    test_data = row.get('Test Data', entry.get('Test Data'))
    is_set = test_data in TEST_SETS or not str(test_data).startswith(('VOC', 'COCO'))
    _demand(is_set, f'{where}: Test Data must be one of {TEST_SETS}, got {test_data!r}')
    tool = entry.get('Tool', 'test')
    _demand(tool in TOOLS, f'{where}: Tool must be one of {TOOLS}, got {tool!r}')
    special = row.get('TTA') or test_data in TEST_SETS[2:]
    _demand(tool == 'test' or not special, f'{where}: only Tool test has TTA and servers')
    _check_ours(ours, columns, where)
    return Row(
        folder,
        table,
        name,
        str(row.get('Label') or name),
        model=model,
        config=models.get(model),
        options=options,
        test_options=test_options,
        data=row.get('Data', entry.get('Data')),
        test_data=test_data,
        tta=bool(row.get('TTA')),
        columns=columns,
        paper=numbers,
        lost=tuple(lost),
        ours=ours,
        metrics=metrics,
        tool=tool,
    )


def _check_ours(ours: Any, columns: tuple[str, ...], where: str) -> None:
    if ours is None:
        return
    _demand(isinstance(ours, dict), f'{where}: Ours must be null or a mapping, got {ours!r}')
    lacking = [key for key in ('Metrics', *PROVENANCE) if not ours.get(key) and ours.get(key) != 0]
    _demand(not lacking, f'{where}: Ours lacks {_join(lacking)}; no number stands without them')
    metrics = _mapping(ours, 'Metrics', where)
    wrong = {c: v for c, v in metrics.items() if c not in columns or not _is_number(v)}
    _demand(not wrong, f'{where}: Metrics of Ours must be numbers of {columns}, got {wrong}')


def _address_part(entry: Any, where: str) -> str:
    name = _text(entry, 'Name', where)
    _demand(name.strip('/') and '/' not in name, f'{where}: Name must have no "/", got {name!r}')
    return name


def _text(entry: Any, key: str, where: str) -> str:
    value = entry.get(key) if isinstance(entry, dict) else None
    # 0.50 unquoted would become 0.5: a name is what is written.
    if isinstance(value, str) and value.strip():
        return value
    raise ValueError(f'{where}: {key} must be text, got {value!r}')


def _mapping(entry: Mapping, key: str, where: str) -> dict:
    value = entry.get(key) or {}
    _demand(isinstance(value, dict), f'{where}: {key} must be a mapping, got {value!r}')
    return value


def _notes(value: Any) -> str:
    return '\n'.join(map(str, value)) if isinstance(value, list) else str(value or '')


def _is_number(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and math.isfinite(value)


def _all_differ(names: Iterable[str], what: str) -> None:
    names = list(names)
    twice = sorted({name for name in names if names.count(name) > 1})
    _demand(not twice, f'{what} {_join(map(repr, twice))}')


def _unknown(target: str, names: Iterable[str]) -> list:
    names = sorted(set(names))
    begun = [name for name in names if name.startswith(target)]
    near = begun[:3] or difflib.get_close_matches(target, names, n=3, cutoff=0.4)
    hint = f'nearest: {", ".join(near)}' if near else f'see: {tool_line("reproduce", "list")}'
    raise ValueError(f'there is no table or row {target!r}; {hint}')


def _join(names: Iterable[str]) -> str:
    return ', '.join(names)


def _demand(condition: Any, message: str) -> None:
    if not condition:
        raise ValueError(message)
