"""Curves over a training, averaged over runs that differ by their seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def mean_series(series: Sequence[Mapping[int, float]]) -> dict[str, list[float]]:
    """Mean, least and greatest value at the steps that all runs have.

    Args:
        series: step to value, one a run; what is not finite does not count.

    Returns:
        ``steps``, ``mean``, ``low`` and ``high``, each a list; NaN where no run has a value.

    >>> mean_series([{1: 2.0, 2: 5.0}, {1: 4.0}])
    {'steps': [1], 'mean': [3.0], 'low': [2.0], 'high': [4.0]}
    """
    common = sorted(set.intersection(*(set(one) for one in series)))
    values = np.array([[one[step] for step in common] for one in series], dtype=float)
    values = np.where(np.isfinite(values), values, np.nan).reshape(len(series), len(common))
    known = np.isfinite(values)
    count = known.sum(0)
    with np.errstate(invalid='ignore', divide='ignore'):
        mean = np.where(known, values, 0).sum(0) / count
    low = np.where(known, values, np.inf).min(0)
    high = np.where(known, values, -np.inf).max(0)
    low, high = (np.where(count > 0, bound, np.nan) for bound in (low, high))
    return dict(steps=common, mean=mean.tolist(), low=low.tolist(), high=high.tolist())


def window_means(series: Mapping[int, float], window: int) -> dict[int, float]:
    """The mean of each ``window`` records after another, at the last step of them.

    >>> window_means({1: 2.0, 2: 4.0, 3: 9.0}, 2)
    {2: 3.0, 3: 9.0}
    """
    steps = sorted(series)
    found = {}
    for start in range(0, len(steps), window):
        part = steps[start : start + window]
        values = [series[step] for step in part if np.isfinite(series[step])]
        found[part[-1]] = float(np.mean(values)) if values else float('nan')
    return found


def draw_band(ax: Axes, curve: Mapping, style: Mapping, label: str) -> None:
    """A mean with what lies between the least and the greatest run."""
    ax.plot(curve['steps'], curve['mean'], label=label, **style)
    if curve['low'] != curve['high']:
        ax.fill_between(
            curve['steps'], curve['low'], curve['high'], color=style['color'], alpha=0.15, lw=0
        )
