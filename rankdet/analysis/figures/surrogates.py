"""The hinge and what stands for it in DR Loss (DR Loss paper, Fig. 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from rankdet.analysis.figures.style import look, panels
from rankdet.functional import dr_loss

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def surrogates(
    *, smoothness: Sequence[float] = (6.0,), rho: Sequence[float] = (0.5,), points: int = 199
) -> dict:
    r"""Values of the surrogates (Eq. 7 and 8) at :math:`z = p_- - p_+` in (-1, 1).

    They are read off :func:`rankdet.functional.dr_loss` itself: one positive, one negative, no
    margin.

    Args:
        smoothness: L of the logistic surrogate, one curve each.
        rho: half-widths of the quadratic one, one curve each.
        points: values of z.

    Returns:
        ``z`` and ``curves``, each with ``name`` and ``values``.
    """
    if points < 2:
        raise ValueError(f'points must be at least 2, got {points}')
    z = np.linspace(-1, 1, points + 2)[1:-1]
    options: dict[str, dict] = {'hinge': dict(surrogate='hinge')}
    options |= {f'quadratic, ρ = {v:g}': dict(surrogate='quadratic', rho=v) for v in rho}
    options |= {
        f'logistic, L = {v:g}': dict(surrogate='logistic', smoothness=v) for v in smoothness
    }
    curves = [dict(name=n, values=[_value(at, o) for at in z]) for n, o in options.items()]
    return dict(figure='surrogates', z=z, curves=curves)


def _value(z: float, options: dict) -> float:
    p = torch.tensor([1 - z, 1 + z], dtype=torch.float64) / 2  # of the positive and the negative
    return float(dr_loss(p.logit(), torch.tensor([1, 0]), margin=0.0, tau=1.0, **options))


def draw_surrogates(data: dict) -> Figure:
    """All in one panel."""
    figure, axes = panels(width=5.4, height=3.8)
    ax = axes[0, 0]
    for index, curve in enumerate(data['curves']):
        ax.plot(data['z'], curve['values'], label=curve['name'], **look(index))
    ax.set(xlabel='z = p₋ − p₊', ylabel='ℓ(z)', xlim=(-1, 1), ylim=(0, None))
    ax.legend(loc='upper left')
    return figure
