"""Densities of foreground and background scores (DR Loss paper, Fig. 4 and 5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from rankdet.analysis.checks import check_at_least, check_device
from rankdet.analysis.figures.examples import Examples, examples
from rankdet.analysis.figures.runs import Run, by_label
from rankdet.analysis.figures.style import grid, legend_text, look, panels, runs_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KINDS = ('background', 'foreground')
DECAY = 10  # what the paper's Fig. 5 (b) divides the background's density by


def densities(
    runs: Sequence[Run], *, bins: int = 50, images: int | None = None, device: str | None = None
) -> dict:
    """Densities of the probabilities of anchors; the anchors of runs of one label count together.

    An example is an anchor and a class, as the losses have it: foreground where the anchor is
    assigned to an object of that class, background elsewhere. Ignored anchors are left out.

    Args:
        runs: with a checkpoint.
        bins: of equal width in [0, 1].
        images: how many images to take of each data set; None takes all.
        device: None takes a GPU if there is one.

    Returns:
        ``edges`` of the bins and ``curves``: for each label ``foreground`` and ``background``,
        each with ``density``, ``count`` and ``mean``.

    Raises:
        UserError: a data set has no boxes, or a checkpoint and its config do not fit.
    """
    check_at_least(1, bins=bins, images=images)
    check_device(device)
    edges = np.linspace(0, 1, bins + 1)
    curves = []
    for label, group in by_label(runs).items():
        counts, sums = np.zeros((2, bins), dtype=np.int64), np.zeros(2)
        for run in group:
            for part in examples(run, images=images, device=device):
                for kind, values in enumerate(split_scores(part)):
                    counts[kind] += np.histogram(values, edges)[0]
                    sums[kind] += values.sum()
        curves.append(dict(label=label, runs=len(group), **_described(counts, sums, bins)))
    return dict(figure='densities', edges=edges, curves=curves)


def split_scores(part: Examples) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of the background examples, and of the foreground ones."""
    p = part.probabilities.cpu().double().numpy()
    targets = part.targets.cpu().numpy()
    kept = targets >= 0
    p, targets = p[kept], targets[kept]
    is_foreground = targets[:, None] == np.arange(p.shape[1])
    return p[~is_foreground], p[is_foreground]


def _described(counts: np.ndarray, sums: np.ndarray, bins: int) -> dict:
    found = {}
    for kind, name in enumerate(KINDS):
        total = counts[kind].sum()
        density = counts[kind] * bins / max(total, 1)
        mean = sums[kind] / total if total else float('nan')
        found[name] = dict(density=density, count=int(total), mean=float(mean))
    return found


def draw_densities(data: dict) -> Figure:
    """Fig. 4: background left and foreground right, all runs in each."""
    figure, axes = panels(1, 2, width=5.0, height=3.8, sharex=True)
    for ax, kind in zip(axes[0], KINDS):
        for index, curve in enumerate(data['curves']):
            found = curve[kind]
            label = f'{legend_text(curve)}, mean {found["mean"]:.3f}'
            _steps(ax, data['edges'], found['density'], look(index), label)
        ax.set(xlabel='probability', ylabel='probability density', xlim=(0, 1), yscale='log')
        ax.set_title(kind, fontsize=10)
        # Below the axes: the curves of many runs leave no room inside.
        ax.legend(fontsize=8, ncols=2, loc='upper center', bbox_to_anchor=(0.5, -0.16))
    return figure


def draw_separation(data: dict) -> Figure:
    """Fig. 5: foreground and background of each run, the latter's density divided by 10."""
    curves = data['curves']
    figure, axes = grid(len(curves))
    for ax, curve in zip(axes, curves):
        density = np.asarray(curve['background']['density']) / DECAY
        _steps(ax, data['edges'], density, look(1), f'background, density / {DECAY}')
        _steps(ax, data['edges'], curve['foreground']['density'], look(0), 'foreground')
        for kind, index in zip(KINDS, (1, 0)):
            ax.axvline(curve[kind]['mean'], color=look(index)['color'], lw=0.8, alpha=0.7)
        ax.set(xlim=(0, 1), ylim=(0, None))
        ax.set_title(curve['label'] + runs_text(curve['runs']), fontsize=10)
    axes[0].legend(fontsize=8, loc='upper right')
    figure.supxlabel('probability (thin lines: means)', fontsize=10)
    figure.supylabel('probability density', fontsize=10)
    return figure


def _steps(ax: Axes, edges: ArrayLike, density: ArrayLike, style: dict, label: str) -> None:
    density = np.asarray(density, float)
    density = np.where(density > 0, density, np.nan)  # a log axis has no zero
    ax.stairs(np.nan_to_num(density), edges, label=label, lw=1.4, baseline=None, **style)
