"""How all figures look, and how they are left behind: PNG, SVG and the data in them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np

from rankdet.analysis.curves import COLORS
from rankdet.commands import tool_line
from rankdet.engine.errors import UserError
from rankdet.untrusted import read_json

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LINES = ('-', '--', '-.', ':')
_LOOK: dict[Any, Any] = {
    'font.size': 10,
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.grid': True,
    'grid.alpha': 0.25,
    'svg.hashsalt': 'rankdet',  # equal data give equal files
}


def look(index: int) -> dict[str, Any]:
    """Colour and dash of the curve number ``index``: neither has to be told apart alone.

    The yellow and light ones of the palette come last, since they are faint on white.
    """
    return dict(color=COLORS[index % len(COLORS)], linestyle=_LINES[index % len(_LINES)])


def panels(
    rows: int = 1, columns: int = 1, *, width: float = 4.6, height: float = 3.4, **shared: Any
) -> tuple[Figure, np.ndarray]:
    """A figure and an array ``(rows, columns)`` of its axes.

    Args:
        width, height: of one panel, in inches.
        shared: ``sharex`` and ``sharey``, as matplotlib has them.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_LOOK):
        figure = Figure(figsize=(width * columns, height * rows), layout='constrained')
        return figure, figure.subplots(rows, columns, squeeze=False, **shared)


def grid(count: int, columns: int = 3) -> tuple[Figure, list[Axes]]:
    """A figure and a list of ``count`` axes with common scales, numbered at the outer ones."""
    columns = min(count, columns)
    size = dict(width=3.6, height=2.8)
    figure, panes = panels(-(-count // columns), columns, **size, sharex=True, sharey=True)
    for unused in panes.flat[count:]:
        unused.remove()
    axes = list(panes.flat[:count])
    for index, ax in enumerate(axes):
        ax.tick_params(labelbottom=index + columns >= count)
    return figure, axes


def plain_log_axis(ax: Axes, values: Iterable[float]) -> None:
    """A logarithmic y axis that spans a decade at least, with plain numbers.

    Args:
        values: all that is drawn; what is not positive and finite does not count.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    ax.set_yscale('log')
    known = [value for value in values if value > 0 and math.isfinite(value)]
    if known:
        low, high = min(known), max(known)
        margin = max(1.1, math.sqrt(10 * low / high))
        ax.set_ylim(low / margin, high * margin)
        subs = (1, 2, 5) if high / low < 1e3 else (1,)
        ax.yaxis.set_major_locator(LogLocator(subs=subs))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:g}'))
    ax.yaxis.set_minor_formatter(NullFormatter())


def fit_labels(figure: Figure, width: int = 34) -> None:
    """Break the lines of legends and titles that would take the room of the axes.

    They hold names that users gave: a ``$`` in them is one, and begins no formula.

    Args:
        width: most characters in a line of a legend or of the title of one of several axes.
    """
    from matplotlib.text import Text

    legends = [*figure.legends, *(ax.get_legend() for ax in figure.axes)]
    texts: list[Text] = [text for one in legends if one for text in one.get_texts()]
    for text in (*texts, *(ax.title for ax in figure.axes)):
        text.set_parse_math(False)
        lines = text.get_text().splitlines()
        text.set_text('\n'.join(wrapped for line in lines for wrapped in wrap(line, width)))


def save(figure: Figure, data: Mapping, out: str | Path) -> list[Path]:
    """Write ``out``.png, ``out``.svg and ``out``.json.

    Args:
        data: what the figure shows; arrays become lists, and numbers keep six digits.
        out: path without suffix; folders are made.

    Returns:
        The three paths.
    """
    from matplotlib import rc_context

    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    paths = [out.with_name(f'{out.name}.{suffix}') for suffix in ('png', 'svg', 'json')]
    fit_labels(figure)
    with rc_context(_LOOK):
        figure.savefig(paths[0], dpi=130)
        figure.savefig(paths[1], dpi=200, metadata={'Date': None})
    paths[2].write_text(json.dumps(plain(data)) + '\n', encoding='utf-8')
    return paths


def load(path: str | Path) -> dict:
    """The data of a figure from the JSON that :func:`save` left; null is NaN.

    Raises:
        UserError: it is no such file.
    """
    data = read_json(path, 'figure data')
    if not (isinstance(data, dict) and isinstance(data.get('figure'), str)):
        raise UserError(
            f'{path} is no data of a figure: {tool_line("analyze")} leaves them as NAME.json'
        )
    return _known(data)


def _known(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _known(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_known(inner) for inner in value]
    return math.nan if value is None else value


def plain(value: Any) -> Any:
    """What JSON can hold: no arrays, and null for what is not finite."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (float, np.floating)):
        return float(f'{value:.6g}') if math.isfinite(value) else None
    if isinstance(value, np.integer):
        return int(value)
    return str(value) if isinstance(value, Path) else value


def runs_text(count: int) -> str:
    """What a legend says of curves that are means.

    >>> runs_text(1), runs_text(3)
    ('', ' (3 runs)')
    """
    return '' if count == 1 else f' ({count} runs)'


def legend_text(curve: Mapping) -> str:
    """What a legend says of a curve: its label, and of how many runs it is the mean."""
    text = curve['label'] + runs_text(curve.get('runs', 1))
    # matplotlib leaves out what begins with an underscore: a space without width hides it.
    return f'\u200b{text}' if text.startswith('_') else text
