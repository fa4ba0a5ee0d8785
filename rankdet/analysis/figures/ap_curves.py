"""AP against iterations of training (AP Loss paper, TPAMI, Fig. 6)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rankdet.analysis.curves import logged_ap, read_scalars
from rankdet.analysis.figures.predictions import predict
from rankdet.analysis.figures.runs import Run, by_label
from rankdet.analysis.figures.series import draw_band, mean_series
from rankdet.analysis.figures.style import legend_text, look, panels
from rankdet.engine.checkpoints import of_last_training
from rankdet.engine.errors import UserError
from rankdet.engine.preflight import read_checkpoint
from rankdet.evaluation import evaluate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METRICS = ('AP', 'AP50', 'AP75')
_NUMBERED = re.compile(r'(?:epoch|iter)_(\d+)\.pth')


def ap_curves(
    runs: Sequence[Run],
    *,
    metric: str = 'AP',
    measure: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> dict:
    """AP at the iterations at which it was measured; runs of one label are averaged.

    Taken from the log of a run that was validated more than once while it trained; otherwise
    every checkpoint is measured now.

    Args:
        runs: folders of trainings.
        metric: one of ``METRICS``.
        measure: measure the checkpoints also where there is a log.
        report: called with a line for each checkpoint measured.

    Returns:
        ``metric`` and ``curves``, each with ``steps``, ``mean``, ``low`` and ``high``.

    Raises:
        UserError: a run has neither validations in its log nor checkpoints, or runs of one label
            were measured at different iterations.
    """
    if metric not in METRICS:
        raise ValueError(f'metric must be one of {METRICS}, got {metric!r}')
    curves = []
    for label, group in by_label(runs).items():
        series = [_series(run, metric, measure, report) for run in group]
        curve = mean_series(series)
        if not curve['steps']:
            raise UserError(
                f'the runs of {label!r} were not measured at the same iterations, so they have no '
                'mean; give them different --labels'
            )
        curves.append(dict(label=label, runs=len(group), **curve))
    return dict(figure='ap-curves', metric=metric, curves=curves)


def _series(
    run: Run, metric: str, measure: bool, report: Callable[[str], None]
) -> dict[int, float]:
    logged = {} if measure else logged_metric(run.folder, metric)
    return logged if len(logged) > 1 else measured_metric(run, metric, report)


def logged_metric(folder: Path, metric: str) -> dict[int, float]:
    """Iteration to value, of all validations in a run's log, see :func:`.curves.read_scalars`."""
    found = {}
    for record in read_scalars(folder):
        value = logged_ap(record).get(metric)
        if value is not None and record.get('iteration'):
            found[record['iteration']] = value
    return found


def measured_metric(
    run: Run, metric: str, report: Callable[[str], None] = lambda line: None
) -> dict[int, float]:
    """Iteration to value, of all checkpoints of a run's last training, or of the one named.

    Raises:
        UserError: there is none, or it does not say of which iteration it is.
    """
    names = ((_NUMBERED.fullmatch(path.name), path) for path in run.folder.glob('*.pth'))
    numbered = {path: int(name[1]) for name, path in names if name}
    paths = of_last_training(run.folder, sorted(numbered, key=numbered.__getitem__))
    if run.checkpoint_file is not None or not paths:
        paths = [run.checkpoint]
    found = {}
    for path in paths:
        iteration = read_checkpoint(str(path))[1].get('iter')
        if iteration is None:
            raise UserError(f'{path} does not say after how many iterations it was written')
        found[iteration] = float(evaluate(*predict(run, path), bounds=False).summary()[metric])
        report(f'{run.label}: {path.name} (iteration {iteration}) {metric} {found[iteration]:.3f}')
    return found


def draw_ap_curves(data: dict) -> Figure:
    """All runs in one panel."""
    figure, axes = panels(width=5.8, height=4.0)
    ax = axes[0, 0]
    for index, curve in enumerate(data['curves']):
        style = look(index) | dict(marker='o', markersize=3.5)
        draw_band(ax, curve, style, legend_text(curve))
    ax.set(xlabel='iteration', ylabel=data['metric'], xlim=(0, None), ylim=(0, None))
    ax.legend(loc='best', handlelength=3)
    return figure
