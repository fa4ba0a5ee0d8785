"""aLRP Loss, its components and the self-balancing weight in a training (aLRP paper, Fig. 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from rankdet.analysis.figures.runs import Run, by_label
from rankdet.analysis.figures.series import mean_series
from rankdet.analysis.figures.style import look, panels, plain_log_axis, runs_text
from rankdet.engine.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PARTS = {'aLRP': 'aLRP', 'aLRP_cls': 'classification', 'aLRP_loc': 'localisation'}


def balance(runs: Sequence[Run]) -> dict:
    """What SelfBalanceHook logged; runs of one label are averaged.

    Returns:
        ``curves``: for each label and head ``steps`` and the means of ``aLRP``, ``aLRP_cls``,
        ``aLRP_loc``, ``sb_weight`` and ``balanced_loc``, the product of the last two.

    Raises:
        UserError: a run has no log, or its log has no aLRP Loss.
    """
    curves = []
    for label, group in by_label(runs).items():
        logs = [run.log() for run in group]
        prefixes = _prefixes(logs[0])
        for run, log in zip(group, logs):
            if not prefixes or _prefixes(log) != prefixes:
                raise UserError(
                    f'the log of {run.folder} has no aLRP Loss, or that of other heads than the '
                    'first; train with aLRPLoss and SelfBalanceHook'
                )
        for prefix in prefixes:
            names = [*PARTS, 'sb_weight']
            ranked = [_ranked(log, prefix) for log in logs]
            columns = {
                name: mean_series([_series(log, prefix + name) for log in ranked]) for name in names
            }
            steps = columns['aLRP']['steps']
            found = {name: column['mean'] for name, column in columns.items()}
            products = [_product(log, prefix) for log in ranked]
            found['balanced_loc'] = mean_series(products)['mean']
            head = prefix.rstrip('.')
            name = f'{label}, {head}' if head else label
            curves.append(dict(label=name, runs=len(group), steps=steps, **found))
    return dict(figure='balance', curves=curves)


def _prefixes(log: list[dict]) -> list[str]:
    """'' or, with several aLRP Losses, the heads: 'rpn_head.' and so on."""
    keys = dict.fromkeys(key for record in log for key in record)
    return [key.removesuffix('aLRP') for key in keys if key == 'aLRP' or key.endswith('.aLRP')]


def _ranked(log: list[dict], prefix: str) -> list[dict]:
    """Without the lines that saw no positive: those have a weight and nothing to draw beside it."""
    return [record for record in log if f'{prefix}aLRP' in record]


def _series(log: list[dict], key: str) -> dict[int, float]:
    return {record['step']: record[key] for record in log if 'loss' in record and key in record}


def _product(log: list[dict], prefix: str) -> dict[int, float]:
    weights = _series(log, f'{prefix}sb_weight')
    loc = _series(log, f'{prefix}aLRP_loc')
    return {step: value * weights[step] for step, value in loc.items() if step in weights}


def draw_balance(data: dict) -> Figure:
    """One column a curve: the losses above, the weight below."""
    curves = data['curves']
    figure, axes = panels(2, len(curves), sharex='col', height=2.9, width=5.2)
    for (above, below), curve in zip(axes.T, curves):
        for index, (key, name) in enumerate(PARTS.items()):
            above.plot(curve['steps'], curve[key], label=name, **look(index))
        above.plot(curve['steps'], curve['balanced_loc'], label='localisation × weight', **look(3))
        top = np.nanmax([*curve['aLRP'], *curve['balanced_loc']])
        above.set(ylabel='loss', ylim=(0, 1.5 * top))
        above.legend(ncols=2, loc='upper center', fontsize=8.5)
        above.set_title(curve['label'] + runs_text(curve['runs']), fontsize=10)
        below.plot(curve['steps'], curve['sb_weight'], color='black', drawstyle='steps-mid')
        below.set(xlabel='iteration', ylabel='self-balancing weight')
        plain_log_axis(below, curve['sb_weight'])
    return figure
