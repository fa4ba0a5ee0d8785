"""Detectors side by side, as in Table 3."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

#: Heading of each column.
HEADINGS = dict(
    original='Original',
    black='Black patch',
    random='Random patch',
    flip='Flip patch',
    adversarial='Adversarial patch',
    noise='Gaussian noise',
    deepfool='DeepFool',
)
#: Of a cell, what the table shows, as (name in the cell, factor, digits).
_AP = (('AP50', 100, 1), ('AP', 100, 1))
_DEEPFOOL = (('L2', 1, 1), ('relative', 1, 4))
STYLES = ('markdown', 'csv', 'json')


def robustness_table(rows: Sequence[dict], style: str = 'markdown') -> str:
    """A line for each detector, a column for each perturbation.

    Args:
        rows: from :func:`.run.measure_robustness`.
        style: 'markdown' has AP50 / AP in percent, and DeepFool's mean norm, with what they were
            measured on below; 'csv' has a column for each number; 'json' all that is known.

    >>> cell = dict(AP50=0.823, AP=0.531, images=10, objects=31)
    >>> print(robustness_table([dict(name='ap', cells=dict(original=cell))], 'csv'))
    detector,Original AP50,Original AP
    ap,82.3,53.1
    """
    if style not in STYLES:
        raise ValueError(f'style must be one of {STYLES}, got {style!r}')
    if style == 'json':
        return to_json(list(rows))
    columns = [name for name in HEADINGS if any(name in row['cells'] for row in rows)]
    if style == 'csv':
        return _csv(rows, columns)
    header = ['detector', *(HEADINGS[name] for name in columns)]
    lines = ['| ' + ' | '.join(header) + ' |', '|---' + '|---:' * len(columns) + '|']
    for row in rows:
        cells = [' / '.join(_texts(row, name)[: 1 + (name != 'deepfool')]) for name in columns]
        lines.append('| ' + ' | '.join([row['name'].replace('|', '\\|'), *cells]) + ' |')
    return '\n'.join([*lines, '', *table_notes(rows)])


def write_tables(rows: Sequence[dict], out_dir: str | Path) -> list[Path]:
    """Leave ``robustness.md``, ``.csv`` and ``.json`` in a folder."""
    written = []
    for style, suffix in zip(STYLES, ('md', 'csv', 'json')):
        path = Path(out_dir) / f'robustness.{suffix}'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(robustness_table(rows, style) + '\n', encoding='utf-8')
        written.append(path)
    return written


def _csv(rows: Sequence[dict], columns: Sequence[str]) -> str:
    names = [f'{HEADINGS[column]} {value}' for column in columns for value, _, _ in _of(column)]
    lines = [[row['name'], *(t for column in columns for t in _texts(row, column))] for row in rows]
    file = io.StringIO()
    csv.writer(file, lineterminator='\n').writerows([['detector', *names], *lines])
    return file.getvalue().rstrip('\n').replace(',-', ',')


def _of(column: str) -> tuple:
    return _DEEPFOOL if column == 'deepfool' else _AP


def _texts(row: dict, column: str) -> list[str]:
    cell, found = row['cells'].get(column, {}), []
    for name, factor, digits in _of(column):
        value = cell.get(name)
        known = value is not None and math.isfinite(value)
        found.append(f'{factor * value:.{digits}f}' if known else '-')
    return found


def table_notes(rows: Sequence[dict]) -> list[str]:
    """What the numbers were measured on."""
    notes = []
    measured = [
        cell for row in rows for name, cell in row['cells'].items() if name != 'deepfool'
    ]  # fmt: skip
    if measured:
        on = dict.fromkeys(f'{c["images"]} images ({c["objects"]} objects)' for c in measured)
        notes.append(f'AP50 / AP in percent on {" or ".join(on)}.')
    attacked = {row['name']: row['cells']['deepfool'] for row in rows if 'deepfool' in row['cells']}
    if attacked:
        parts = [f'{name}: {_attacked_text(cell)}' for name, cell in attacked.items()]
        notes.append(
            'DeepFool: mean L2 norm in grey levels of the least perturbation found that changes '
            f'what an object is called ({"; ".join(parts)}).'
        )
        same = {name: cell for name, cell in attacked.items() if cell.get('common')}
        if same:
            count = next(iter(same.values()))['common']
            means = ', '.join(f'{name} {cell["common_L2"]:.1f}' for name, cell in same.items())
            notes.append(f'The same over the {count} objects that all detectors lose: {means}.')
    return notes


def _attacked_text(cell: Mapping) -> str:
    where = f'{cell["missed"]} called wrong before, on {cell["images"]} images'
    if not cell['fooled'] and not cell['withstood']:
        return f'no object to attack, {where}'
    return f'{cell["fooled"]} objects fooled, {cell["withstood"] or "none"} withstood, {where}'


def to_json(value: object) -> str:
    """Nested values as JSON, what is not finite as null."""
    return json.dumps(_finite(value), indent=1, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
