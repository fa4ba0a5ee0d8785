"""What to do after a training, read off its summary."""

from __future__ import annotations

import shlex
from collections.abc import Sequence


def suggestions(summary: dict, *, first: Sequence[str] = (), last: Sequence[str] = ()) -> list[str]:
    """What a result suggests, the most pressing first.

    Args:
        summary: as :func:`rankdet.analysis.demo.describe` gives it, with ``config`` and
            ``checkpoint``.
        first: what is wrong with the data.
        last: what is suggested whatever the result.
    """
    lines = []
    if summary['AP50'] < 0.1:
        lines.append(
            f'Hardly anything was learnt. Look at {summary["pictures"]}: are the green boxes where '
            'they belong? If so, train longer (--epochs).'
        )
    detect = (
        'Detect on your pictures:\n'
        f'    python tools/image_demo.py PHOTOS --config {shlex.quote(summary["config"])} '
        f'--checkpoint {shlex.quote(summary["checkpoint"])} '
        f'--score {shlex.quote(summary["thresholds"])}'
    )
    return [*lines, *first, detect, *last]
