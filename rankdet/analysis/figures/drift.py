"""How a regulariser lambda moves a distribution of scores (DR Loss paper, Fig. 2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from rankdet.analysis.figures.style import look, panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SPREADS = (0.05, 0.15)
LAMBDAS = (1.0, 0.2, 0.1)


def drifted_weights(scores: np.ndarray, lam: float, *, positives: bool = False) -> np.ndarray:
    r"""Weights that sum to one, uniform before the drift.

    .. math:: q_j \propto \exp(\pm p_j / \lambda)

    (Propositions 1 and 2 of the DR Loss paper): towards high scores for negatives, towards low
    ones for positives.

    Args:
        scores: ``(n,)``.
        lam: lambda > 0. Infinity leaves the weights uniform.
        positives: drift down.

    Raises:
        ValueError: ``lam`` is not positive.

    >>> drifted_weights(np.array([0.0, 1.0]), np.inf).tolist()
    [0.5, 0.5]
    """
    if not lam > 0:
        raise ValueError(f'lambda must be > 0, got {lam!r}')
    slopes = np.asarray(scores, float) * (-1 if positives else 1) / lam
    weights = np.exp(slopes - slopes.max())
    return weights / weights.sum()


def drift(
    *,
    spreads: Sequence[float] = SPREADS,
    lambdas: Sequence[float] = LAMBDAS,
    mean: float = 0.5,
    samples: int = 10_000_000,
    positives: bool = False,
    bins: int = 100,
    seed: int = 0,
) -> dict:
    """Densities of normal samples, before and after the drift.

    Args:
        spreads: standard deviations, one panel each.
        lambdas: regularisers, one curve each.
        mean: of all distributions.
        samples: how many, by default as in the paper: fewer leave the tail rough.
        positives: drift down instead of up.
        bins: of each density.
        seed: of the samples.

    Returns:
        ``panels``: for each spread the ``scores`` (centres of the bins) and ``curves``, each with
        its lambda (null: the original one), ``density`` and ``mean``.
    """
    if samples < 1 or bins < 1:
        raise ValueError(f'samples and bins must be at least 1, got {samples} and {bins}')
    unit = np.random.default_rng(seed).standard_normal(samples)
    found = []
    for spread in spreads:
        if not spread > 0:
            raise ValueError(f'spreads must be > 0, got {spread!r}')
        scores = mean + spread * unit
        edges = np.histogram_bin_edges(scores, bins)
        curves = []
        for lam in (np.inf, *lambdas):
            weights = drifted_weights(scores, lam, positives=positives)
            density, _ = np.histogram(scores, edges, weights=weights, density=True)
            curves.append(dict(lam=lam, density=density, mean=float(weights @ scores)))
        found.append(dict(spread=spread, scores=(edges[1:] + edges[:-1]) / 2, curves=curves))
    kind = 'positives' if positives else 'negatives'
    return dict(figure='drift', kind=kind, mean=mean, samples=samples, panels=found)


def draw_drift(data: dict) -> Figure:
    """One panel a spread, one curve a lambda."""
    figure, axes = panels(1, len(data['panels']), sharex=True)
    for ax, panel in zip(axes[0], data['panels']):
        for index, curve in enumerate(panel['curves']):
            name = 'original' if not np.isfinite(curve['lam']) else f'λ = {curve["lam"]:g}'
            label = f'{name}, mean {curve["mean"]:.2f}'
            style = look(index - 1) if index else dict(color='0.4', linestyle='-')
            ax.plot(panel['scores'], curve['density'], label=label, **style)
        ax.set(xlabel='score', ylabel='probability density', xlim=(0, 1))
        ax.set_title(f'{data["kind"]}, standard deviation {panel["spread"]:g}', fontsize=10)
        ax.set_ylim(0, 1.55 * max(np.max(curve['density']) for curve in panel['curves']))
        ax.legend(loc='upper left' if data['kind'] == 'negatives' else 'upper right', fontsize=8)
    return figure
