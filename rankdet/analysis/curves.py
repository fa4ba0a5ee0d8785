"""What a run logged, and plots of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

# Okabe and Ito's palette, told apart under all common kinds of colour blindness.
COLORS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#000000')


def read_scalars(work_dir: str | Path) -> list[dict]:
    """Everything a run logged, oldest first, over all its interruptions.

    A resumed run logs some steps again; the later record of a step counts.

    Args:
        work_dir: folder of the run, with ``<timestamp>/vis_data/scalars.json`` in it.

    Returns:
        One dict a record, as MMEngine wrote it.
    """
    training: dict[int, dict] = {}
    testing: dict[int, dict] = {}
    for path in sorted(Path(work_dir).glob('*/vis_data/scalars.json')):
        for line in path.read_text().splitlines():
            try:
                record = json.loads(line)
            except json.JSONDecodeError:  # a kill cut the last line short
                continue
            kind = training if 'loss' in record else testing
            kind[int(record.get('step', 0))] = record
    return [kind[step] for kind in (training, testing) for step in sorted(kind)]


def training_seconds(work_dir: str | Path) -> float:
    """How long a run has trained, over all its interruptions, from the times it logged."""
    seconds, last = 0.0, 0
    for record in read_scalars(work_dir):
        if 'loss' in record:
            seconds += record['time'] * (record['step'] - last)
            last = record['step']
    return seconds


def plot_training(work_dir: str | Path, out: str | Path, title: str = '') -> Path:
    """Losses against iterations, and AP against epochs, as one picture.

    Raises:
        ValueError: the run has logged nothing.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    records = read_scalars(work_dir)
    training = [record for record in records if 'loss' in record]
    if not training:
        raise ValueError(f'{work_dir} holds no training log (<timestamp>/vis_data/scalars.json)')
    figure = Figure(figsize=(10, 3.8), layout='constrained')
    left, right = figure.subplots(1, 2)
    steps = [record['step'] for record in training]
    for color, key in zip(COLORS, [k for k in training[0] if k.startswith('loss')]):
        values = [record.get(key, np.nan) for record in training]
        left.plot(steps, values, '-' if len(steps) > 10 else 'o-', color=color, label=key)
    left.set(xlabel='iteration', ylabel='loss (smoothed)', ylim=(0, None))
    left.legend(frameon=False)
    tested = [record for record in records if 'coco/bbox_mAP' in record]
    names = {'coco/bbox_mAP': 'AP', 'coco/bbox_mAP_50': 'AP50', 'coco/bbox_mAP_75': 'AP75'}
    for color, (key, name) in zip(COLORS, names.items()):
        values = [record.get(key, np.nan) for record in tested]
        right.plot(
            [r['step'] for r in tested], values, 'o-', color=color, label=name, clip_on=False
        )
    right.xaxis.set_major_locator(MaxNLocator(integer=True))
    right.set(xlabel='epoch', ylabel='AP on held-out images', ylim=(0, 1))
    if tested:
        right.legend(frameon=False, loc='upper left')
    figure.suptitle(title)
    return _save(figure, out)


def plot_precision_recall(evaluated, out: str | Path, title: str = '') -> Path:
    """Precision against recall at several IoU thresholds, averaged over classes.

    Args:
        evaluated: a :class:`pycocotools.cocoeval.COCOeval` after ``accumulate()``.
    """
    from matplotlib.figure import Figure

    precision = evaluated.eval['precision'][:, :, :, 0, -1]  # (IoU, recall, class)
    figure = Figure(figsize=(5.2, 4.4), layout='constrained')
    axes = figure.subplots()
    for color, threshold in zip(COLORS, (0.5, 0.6, 0.7, 0.75, 0.8, 0.9)):
        at = int(np.argmin(np.abs(evaluated.params.iouThrs - threshold)))
        values = np.where(precision[at] < 0, np.nan, precision[at])
        curve = np.nanmean(values, axis=1)
        axes.plot(
            evaluated.params.recThrs,
            curve,
            color=color,
            label=f'IoU {threshold:.2f}: AP {np.nanmean(curve):.3f}',
        )
    axes.set(xlabel='recall', ylabel='precision (mean over classes)', xlim=(0, 1), ylim=(0, 1.02))
    axes.legend(framealpha=0.9, loc='lower left')
    axes.set_title(title, fontsize=10)
    return _save(figure, out)


def _save(figure, out: str | Path) -> Path:
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=130)
    return out
