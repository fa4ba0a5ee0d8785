"""The analyses on the page: those that the runs allow for, and those that were made before."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from rankdet.analysis import figures
from rankdet.analysis.figures.ap_curves import logged_metric
from rankdet.analysis.figures.runs import Run
from rankdet.analysis.figures.style import fit_labels
from rankdet.analysis.report import page
from rankdet.analysis.robustness.table import HEADINGS, table_notes
from rankdet.commands import tool_line
from rankdet.engine.errors import UserError
from rankdet.engine.recorder import RECORDS
from rankdet.untrusted import read_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Report = Callable[[str], None]
#: What a run may lack for a figure, told in one line each.
_FAILURES = (UserError, ValueError, torch.OutOfMemoryError)
#: Figures of tools/analyze.py that are no matter of a run, and a table of its own.
_MADE_BEFORE = {
    'convergence': 'Convergence under three methods of optimisation',
    'imbalance': 'Final AP-loss against the samples of an image',
    'drift': 'A distribution under lambda',
    'surrogates': 'The hinge and its smooth variants',
}
ROBUSTNESS = 'Robustness'
#: What the table of robustness shows of a cell: the number, its heading, and what must be equal in
#: all rows for the best to be marked; nothing for never.
_VALUES: dict[str, tuple[tuple[str, str, tuple[str, ...]], ...]] = {
    'AP': (('AP50', 'AP50', ('images', 'objects')), ('AP', 'AP', ('images', 'objects'))),
    'deepfool': (('L2', 'L2', ()), ('common_L2', 'L2, same objects', ('images', 'common'))),
}


@dataclass(frozen=True)
class _Plan:
    """One figure of runs.

    Attributes:
        heading: over it.
        gather: runs to its data.
        draws: its data to pictures.
        lacks: what a run lacks for it, '' for nothing.
    """

    heading: str
    gather: Callable[[Sequence[Run]], dict]
    draws: Sequence[Callable]
    lacks: Callable[[Run], str] = lambda run: ''


def analyses(
    runs: Sequence[Run], images: int | None, device: str | None, report: Report
) -> Iterator[str]:
    """HTML of every figure of runs, and for each run that is left out of one the reason.

    Args:
        runs: with different labels.
        images: how many images the scatter and the densities take; None takes all.
        device: None takes a GPU if there is one.
        report: called with a line for each figure.
    """
    for plan in _plans(dict(images=images, device=device)):
        yield f'<h3>{escape(plan.heading)}</h3>'
        left_out = {run.label: plan.lacks(run) for run in runs}
        able = [run for run in runs if not left_out[run.label]]
        if able:
            report(f'drawing {plan.heading}')
            data, failed = _gather(plan.gather, able)
            left_out |= failed
            for draw in plan.draws if data else ():
                yield page.chart(_png(draw(data)), plan.heading)
        reasons: dict[str, list[str]] = {}
        for name, reason in left_out.items():
            if reason:
                reasons.setdefault(reason, []).append(name)
        for reason, names in reasons.items():
            yield page.note(f'Left out: {", ".join(names)}, because {reason}.')


def _plans(shared: dict[str, Any]) -> list[_Plan]:
    device = shared['device']
    scatter = partial(figures.scatter, points=1500, **shared)
    densities = partial(figures.densities, **shared)
    cost = partial(figures.loss_cost, batch_sizes=(1, 2, 4), rounds=3, device=device)
    recorded = 'Gradients of negatives against those of positives'
    return [
        _Plan('AP against iterations', figures.ap_curves, [figures.draw_ap_curves], _validations),
        _Plan('Score against IoU of anchors', scatter, [figures.draw_scatter]),
        _Plan('Densities of scores', densities, [figures.draw_densities, figures.draw_separation]),
        _Plan('Where in the ranking AP, AUC and focal loss push',
              partial(figures.push, device=device), [figures.draw_push]),
        _Plan(recorded, figures.gradients, [figures.draw_gradients], _records),
        _Plan('Time of the loss', figures.loss_time, [figures.draw_loss_time], _records),
        _Plan('Time and memory of the loss by batch size', cost, [figures.draw_loss_cost]),
        _Plan('aLRP Loss and its parts', figures.balance, [figures.draw_balance], _alrp),
    ]  # fmt: skip


def _gather(
    gather: Callable[[Sequence[Run]], dict], runs: Sequence[Run]
) -> tuple[dict | None, dict[str, str]]:
    """The data of all runs that have them, and the reasons of the others."""
    try:
        return gather(runs), {}
    except _FAILURES as error:
        if len(runs) == 1:
            return None, {runs[0].label: _line(error)}
    able: list[Run] = []
    failed: dict[str, str] = {}
    for run in runs:
        alone, reasons = _gather(gather, [run])
        failed |= reasons
        able += [run] if alone else []
    if not able or len(able) == len(runs):
        return None, failed or {run.label: 'the runs do not fit in one figure' for run in runs}
    data, more = _gather(gather, able)
    return data, failed | more


def _line(error: BaseException) -> str:
    return str(error).splitlines()[0].rstrip('.')


def _validations(run: Run) -> str:
    count = len(logged_metric(run.folder, 'AP'))
    if count > 1:
        return ''
    times = 'once' if count else 'never'
    return (
        f'it was {times} validated while it trained ({tool_line("analyze", "ap-curves")} tests its '
        'checkpoints)'
    )


def _records(run: Run) -> str:
    found = any(run.folder.glob(f'*/vis_data/{RECORDS}'))
    return '' if found else 'it was not trained with the LossRecorder'


def _alrp(run: Run) -> str:
    try:
        logged = any('aLRP' in key for record in run.log() for key in record)
    except UserError:
        return 'it has no log'
    return '' if logged else 'its log has no aLRP Loss'


@dataclass(frozen=True)
class Result:
    """What a file of ``include`` holds: the data of a figure, or the rows of a table."""

    path: Path
    kind: str
    data: dict | list


def read_results(paths: Sequence[str | Path]) -> list[Result]:
    """The files that tools/analyze.py and tools/robustness.py left.

    Raises:
        UserError: a file holds neither.
    """
    found = []
    for path in map(Path, paths):
        if not path.is_file():
            raise UserError(f'result {path} does not exist')
        content = read_json(path, 'result')
        if isinstance(content, list) and content and all(map(_is_row, content)):
            found.append(Result(path, ROBUSTNESS, content))
        elif isinstance(content, dict) and hasattr(figures, f'draw_{_name(content)}'):
            found.append(Result(path, _name(content), figures.load(path)))
        else:
            raise UserError(
                f'{path} holds no results: include NAME.json of {tool_line("analyze")} or '
                f'robustness.json of {tool_line("robustness")}'
            )
    return found


def _is_row(row: object) -> bool:
    return isinstance(row, dict) and 'name' in row and isinstance(row.get('cells'), dict)


def _name(content: dict) -> str:
    return str(content.get('figure')).replace('-', '_')


def included(results: Sequence[Result]) -> Iterator[str]:
    """HTML of results from :func:`read_results`, and a line on what else could be included."""
    for one in results:
        heading = _MADE_BEFORE.get(one.kind, one.kind.replace('_', ' '))
        yield f'<h3>{escape(heading)}</h3>'
        try:
            if isinstance(one.data, list):
                yield _robustness(one.data)
            else:
                yield page.chart(_png(getattr(figures, f'draw_{one.kind}')(one.data)), heading)
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise UserError(
                f'{one.path} cannot be shown ({type(error).__name__}: {error}): it was changed, or '
                'left by another version; make it anew'
            ) from error
        yield page.note(f'From {one.path.name}.')
    kinds = [one.kind for one in results]
    missing = [kind for kind in _MADE_BEFORE if kind not in kinds]
    if missing:
        yield page.note(
            f'Not included: {", ".join(missing)}, which are no matter of these runs: make them by '
            f'{tool_line("analyze")} and name their .json files with --include.'
        )
    if ROBUSTNESS not in kinds:
        yield page.note(
            f'Not included: a robustness table: make it by {tool_line("robustness")} and name its '
            'robustness.json with --include.'
        )


def _robustness(rows: list[dict]) -> str:
    """AP in percent; the best is marked where all rows are of as many images and objects.

    That is never said of DeepFool's means, each of which is over the objects that its detector
    called rightly, but of those over the objects that all detectors lose.
    """
    shown: dict[str, dict[str, float]] = {row['name']: {} for row in rows}
    columns, comparable = [], []
    for column, heading in HEADINGS.items():
        cells = [row['cells'].get(column, {}) for row in rows]
        for value, label, on in _VALUES['deepfool' if column == 'deepfool' else 'AP']:
            if all(cell.get(value) is None for cell in cells):
                continue
            columns.append(f'{heading} {label}')
            if on and len({tuple(cell.get(name) for name in on) for cell in cells}) == 1:
                comparable.append(columns[-1])
            factor = 1 if column == 'deepfool' else 100
            for row, cell in zip(rows, cells):
                known = cell.get(value) is not None
                shown[row['name']][columns[-1]] = factor * cell[value] if known else math.nan
    table = page.table('detector', shown, columns, mark_best=comparable, digits=1)
    return table + ''.join(map(page.note, table_notes(rows)))


def _png(figure: Figure) -> bytes:
    fit_labels(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=110)
    return buffer.getvalue()
