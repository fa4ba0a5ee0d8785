"""Which metric of a test fills which column of a paper's table."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping

#: A column, in lower case and without '_', '-' and blanks, to the metrics that measure it, best
#: first: unrounded ones come before those of pycocotools, which keep three digits.
_METRICS = {
    'ap': ('det/AP', 'coco/bbox_mAP'),
    'ap50': ('det/AP50', 'coco/bbox_mAP_50'),
    'ap75': ('det/AP75', 'coco/bbox_mAP_75'),
    'ap90': ('det/AP90',),
    'aps': ('det/AP_S', 'coco/bbox_mAP_s'),
    'apm': ('det/AP_M', 'coco/bbox_mAP_m'),
    'apl': ('det/AP_L', 'coco/bbox_mAP_l'),
    'olrp': ('det/oLRP', 'lrp/oLRP'),
    'rho': ('det/rho', 'rank/rho'),
    'original': ('original/AP50',),
    'blackpatch': ('black/AP50',),
    'randompatch': ('random/AP50',),
    'flippatch': ('flip/AP50',),
    'advspatch': ('adversarial/AP50',),
    'gaussiannoise': ('noise/AP50',),
    'deepfool': ('deepfool/L2',),
}
_ALIASES = {'ρ': 'rho', 'map': 'ap'}
#: A norm, which is no fraction.
_NORMS = ('deepfool',)


def decimals(column: str) -> int:
    """How many the papers print: two for a correlation, one for all else."""
    return 2 if _plain(column) == 'rho' else 1


def table_values(
    metrics: Mapping[str, float], columns: Iterable[str], chosen: Mapping[str, str] | None = None
) -> dict[str, float]:
    """What the columns of a table get from the metrics of a test.

    Args:
        metrics: metric to value, fractions as metrics return them.
        columns: names such as AP, AP50, AP_S, oLRP, rho, Black Patch, DeepFool.
        chosen: column to metric, where it is not the usual one.

    Returns:
        Column to value: percent, but a correlation or a norm as it is. A column that no metric
        fills, or one that is undefined (NaN, or -1 in pycocotools), is left out.

    >>> table_values({'coco/bbox_mAP': 0.531, 'det/rho': 0.45}, ['AP', 'AP50', 'rho'])
    {'AP': 53.1, 'rho': 0.45}
    """
    found = {}
    for column in columns:
        names = _names(column, chosen)
        value = next((metrics[name] for name in names if name in metrics), math.nan)
        correlation = _plain(column) == 'rho'
        if isinstance(value, (int, float)) and math.isfinite(value) and (correlation or value >= 0):
            whole = correlation or _plain(column) in _NORMS
            found[column] = round(value, 4) if whole else round(100 * value, 2)
    return found


def unfilled(
    metrics: Iterable[str], columns: Iterable[str], chosen: Mapping[str, str] | None = None
) -> list[str]:
    """The columns that none of these metrics measures, whatever its value."""
    metrics = set(metrics)
    return [column for column in columns if metrics.isdisjoint(_names(column, chosen))]


def _names(column: str, chosen: Mapping[str, str] | None) -> tuple[str, ...]:
    if chosen and column in chosen:
        return (chosen[column],)
    return _METRICS.get(_plain(column), (column,))


def _plain(column: str) -> str:
    name = re.sub('[-_ ]', '', column.lower())
    return _ALIASES.get(name, name)
