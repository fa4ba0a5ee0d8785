"""What to do after a training, read off its summary."""

from __future__ import annotations

from collections.abc import Sequence

from rankdet.commands import tool_line


def suggestions(summary: dict, *, first: Sequence[str] = (), last: Sequence[str] = ()) -> list[str]:
    """What a result suggests, the most pressing first.

    Args:
        summary: as :func:`rankdet.analysis.demo.describe` gives it, with ``config`` and
            ``checkpoint``.
        first: what is wrong with the data.
        last: what is suggested whatever the result.
    """
    lines = []
    if summary['AP50'] is None:
        lines.append(
            'Nothing could be measured: no image has an object that counts. Difficult objects and '
            'crowds do not.'
        )
    elif summary['AP50'] < 0.1:
        lines.append(
            f'Hardly anything was learnt. Look at {summary["pictures"]}: are the green boxes where '
            'they belong? If so, train longer (--epochs).'
        )
    files = {'config': 'config', 'checkpoint': 'checkpoint', 'score': 'thresholds'}
    options = [word for name, key in files.items() for word in (f'--{name}', summary[key])]
    detect = f'Detect on your pictures:\n    {tool_line("image_demo", "PHOTOS", *options)}'
    return [*lines, *first, detect, *last]
