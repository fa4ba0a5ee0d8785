"""Gradients of negatives against those of positives over a training (aLRP paper, Fig. 4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rankdet.analysis.figures.runs import Run, by_label
from rankdet.analysis.figures.series import draw_band, mean_series
from rankdet.analysis.figures.style import legend_text, look, panels, plain_log_axis

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def gradients(runs: Sequence[Run]) -> dict:
    """What :class:`rankdet.engine.recorder.LossRecorder` recorded; runs of one label are averaged.

    Returns:
        ``curves``: for each label ``ratio``, the total gradient magnitude of the negatives over
        that of the positives, and ``loss``, the value of the classification loss; both with
        ``steps``, ``mean``, ``low`` and ``high`` over the runs. Iterations without a gradient at
        positives have no ratio.

    Raises:
        UserError: a run was not recorded.
    """
    curves = []
    for label, group in by_label(runs).items():
        records = [run.records() for run in group]
        ratio = mean_series([{r['step']: gradient_ratio(r) for r in one} for one in records])
        loss = mean_series([{r['step']: r['loss_cls'] for r in one} for one in records])
        curves.append(dict(label=label, runs=len(group), ratio=ratio, loss=loss))
    return dict(figure='gradients', curves=curves)


def gradient_ratio(record: dict) -> float:
    """Negatives over positives of one iteration; NaN where positives have no gradient."""
    if not record['positives'] > 0:
        return float('nan')
    return record['negatives'] / record['positives']


def _values(data: dict, key: str) -> list[float]:
    return [v for curve in data['curves'] for end in ('low', 'high') for v in curve[key][end]]


def draw_gradients(data: dict) -> Figure:
    """Left the ratio, right the loss."""
    figure, axes = panels(1, 2)
    left, right = axes[0]
    left.axhline(1, color='0.6', lw=1, zorder=0)
    for index, curve in enumerate(data['curves']):
        label = legend_text(curve)
        draw_band(left, curve['ratio'], look(index), label)
        draw_band(right, curve['loss'], look(index), label)
    left.set(xlabel='iteration', ylabel='Σ|gradient|: negatives / positives')
    right.set(xlabel='iteration', ylabel='classification loss')
    plain_log_axis(left, [1.0, *_values(data, 'ratio')])
    plain_log_axis(right, _values(data, 'loss'))
    right.legend()
    return figure
