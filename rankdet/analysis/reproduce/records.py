"""Results with their provenance: a file of JSON lines for what was run, the metafile for tables."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from copy import deepcopy
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from mmengine.fileio import dump, load

from rankdet.analysis.paper_tables import Row
from rankdet.engine.provenance import commit, device, versions

RESULTS = 'results.jsonl'


def read_results(path: Path) -> dict[str, dict]:
    """The newest result of each row, by address; nothing where there is no file.

    Raises:
        ValueError: A line is no result.
    """
    found = {}
    for number, line in enumerate(path.read_text().splitlines() if path.is_file() else (), 1):
        try:
            entry = json.loads(line)
            found[entry['row']] = entry
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f'{path}, line {number} is no result: {line[:60]!r}') from error
    return found


def append_result(path: Path, entry: Mapping[str, Any]) -> None:
    """Add a line. The file is replaced whole, so that a kill leaves the old or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    before = path.read_text() if path.is_file() else ''
    write_whole(path, f'{before}{json.dumps(entry, allow_nan=False)}\n')


def write_whole(path: Path, text: str) -> None:
    part = path.with_name(f'.{path.name}.{os.getpid()}.part')
    try:
        part.write_text(text, encoding='utf-8')
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def as_ours(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What a metafile's ``Ours`` has of a result."""
    keys = ['metrics', 'command', 'seed', 'device', 'commit', 'date', 'versions']
    keys += ['remark'] if 'remark' in entry else []
    return {key.capitalize(): entry[key] for key in keys}


def provenance(root: Path, gpus: int) -> dict[str, Any]:
    """Device, commit, date and versions of a run that begins now."""
    return dict(
        device=device(gpus),
        commit=commit(root),
        date=datetime.now(timezone.utc).strftime('%Y-%m-%d'),
        versions=versions(),
    )


def write_ours(path: Path, row: Row, ours: Mapping[str, Any]) -> None:
    """Put a result into a metafile and leave everything else of its text as it is.

    Only the lines of this row's ``Ours`` are replaced; then the new text is read and must say
    what the old one said, but for ``Ours``. Otherwise nothing is written.

    Raises:
        ValueError: The file is written in a way that this does not follow.
    """
    text = path.read_text(encoding='utf-8')
    expected = deepcopy(load(str(path), file_format='yml'))
    tables = [table['Name'] for table in expected['Tables']]
    table = tables.index(row.table)
    rows = [entry['Name'] for entry in expected['Tables'][table]['Rows']]
    place = (table, rows.index(row.name))
    expected['Tables'][place[0]]['Rows'][place[1]]['Ours'] = dict(ours)
    part = path.with_name(f'.{path.stem}.{os.getpid()}.yml')
    try:
        part.write_text(_with_ours(text, place, ours), encoding='utf-8')
        if load(str(part)) != expected:
            raise ValueError('another meaning')
        part.replace(path)
    except Exception as error:
        raise ValueError(
            f'{path}: cannot put in the result of {row.address} without changing more; add it by '
            f'hand: Ours: {json.dumps(dict(ours))}'
        ) from error
    finally:
        part.unlink(missing_ok=True)


def _with_ours(text: str, place: tuple[int, int], ours: Mapping[str, Any]) -> str:
    """The text of a metafile with another ``Ours`` in the row at ``place``."""
    lines = text.splitlines()
    begin = next(n for n, line in enumerate(lines) if line.startswith('Tables:')) + 1
    ends = (n for n in range(begin, len(lines)) if re.match(r'\w', lines[n]))
    begin, end = _items(lines, begin, next(ends, len(lines)))[place[0]]
    keys = len(_dash(lines[begin]))
    begin = next(n for n in range(begin, end) if re.match(rf'[\s-]{{{keys}}}Rows:', lines[n])) + 1
    begin, end = _items(lines, begin, end)[place[1]]
    item = '\n'.join(lines[begin:end])
    if re.match(r'\s*-\s*\{', item):  # in braces
        before, key, after = item.partition('Ours:')
        after = after.lstrip()
        written = json.JSONDecoder().raw_decode(after)[1]  # null, or what this has put there
        item = f'{before}{key} {json.dumps(dict(ours))}{after[written:]}'
        lines[begin:end] = item.split('\n')
        return '\n'.join(lines) + '\n'
    indent = _dash(lines[begin])
    while end > begin + 1 and not _says_something(lines[end - 1]):
        end -= 1
    pattern = re.compile(rf'(?:{re.escape(indent)}|{" " * len(indent)})Ours:')
    start = next((n for n in range(begin, end) if pattern.match(lines[n])), end)
    stop = start + 1
    while stop < end and (_depth(lines[stop]) > len(indent) or not lines[stop].strip()):
        stop += 1
    while stop > start + 1 and not _says_something(lines[stop - 1]):
        stop -= 1
    value = dump(dict(ours), file_format='yml', sort_keys=False, allow_unicode=True, width=1000)
    block = [f'{" " * len(indent)}  {line}' for line in value.splitlines()]
    head = indent if start == begin else ' ' * len(indent)
    lines[start : min(stop, end) if start < end else start] = [f'{head}Ours:', *block]
    return '\n'.join(lines) + '\n'


def _dash(line: str) -> str:
    """What an item of a list begins with."""
    found = re.match(r'\s*-\s*', line)
    assert found is not None
    return found[0]


def _items(lines: list[str], begin: int, end: int) -> list[tuple[int, int]]:
    """First and last line of each item of the list that these lines hold."""
    dashes = [n for n in range(begin, end) if re.match(r'\s*-\s', lines[n])]
    depth = min(_depth(lines[n]) for n in dashes)
    starts = [n for n in dashes if _depth(lines[n]) == depth]
    first = starts[0]
    # What follows and is no deeper than the dashes belongs to another key.
    others = (n for n in range(first, end) if n not in starts and _says_something(lines[n]))
    stop = next((n for n in others if _depth(lines[n]) <= depth), end)
    starts = [n for n in starts if n < stop]
    return list(zip(starts, [*starts[1:], stop]))


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip())


def _says_something(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith('#')
