"""What a run logged, and plots of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rankdet.analysis.starts import read_logs

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pycocotools.cocoeval import COCOeval

# Okabe and Ito's palette, told apart under all common kinds of colour blindness.
COLORS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#000000')

#: Names of a metric, and what CocoMetric and DetectionMetric call it in a log.
LOGGED_AP = {
    'AP': ('bbox_mAP', 'AP'),
    'AP50': ('bbox_mAP_50', 'AP50'),
    'AP75': ('bbox_mAP_75', 'AP75'),
}

#: Epoch, and iteration of how many, in a line of the text log.
_TRAINED = re.compile(r'Epoch\(train\) +\[ *\d+\]\[ *\d+/(\d+)\]')


def read_scalars(work_dir: str | Path) -> list[dict]:
    """Everything the last training of a folder logged, oldest first, over all its interruptions.

    A resumed run logs some steps again; the later record of a step counts. What an earlier training
    logged in the same folder is left out, see :func:`rankdet.analysis.starts.read_logs`.

    Args:
        work_dir: folder of the run, with ``<timestamp>/vis_data/scalars.json`` in it.

    Returns:
        One dict a record, as MMEngine wrote it; those of validations also have ``iteration``:
        their ``iter``, which :func:`rankdet.engine.launch.train` has logged. Without it, their own
        step where the run logged it by iteration; the iterations of so many epochs where it is an
        epoch and the text log says how long one is; else the last iteration that was logged
        before them, which may lie up to an interval of LoggerHook before the validation.

    Raises:
        UserError: a line is no record; it names file and line.
    """
    training: dict[int, dict] = {}
    testing: dict[int, dict] = {}
    for path, records in read_logs(work_dir, 'scalars.json', ('step', 'iter'), optional=True):
        last: dict = {}
        for record in records:
            if 'loss' in record:
                last = record
                training[int(record.get('step', 0))] = record
            else:
                iteration = _iteration(record, last, path.parents[1])
                testing[iteration] = record | dict(iteration=iteration)
    return [kind[step] for kind in (training, testing) for step in sorted(kind)]


def _iteration(record: dict, last: dict, folder: Path) -> int:
    """Of a validation, after the last record of training before it, see :func:`read_scalars`."""
    step = int(record.get('step', 0))
    if 'iter' in record:
        return int(record['iter'])
    if step and step == last.get('epoch') and (length := _epoch_length(folder)):
        return step * length
    return max(int(last.get('step', 0)), step)  # an epoch has an iteration at least


def _epoch_length(folder: Path) -> int | None:
    """Iterations of an epoch, from the text log of a start."""
    for path in sorted(folder.glob('*.log')):
        with path.open(encoding='utf-8', errors='replace') as lines:
            for line in lines:
                if found := _TRAINED.search(line):
                    return int(found[1])
    return None


def logged_ap(record: dict) -> dict[str, float]:
    """AP, AP50 and AP75 of a record, whichever metric logged them, without their bounds.

    >>> logged_ap({'det/AP': 0.5, 'det/upper/AP': 0.6, 'step': 1})
    {'AP': 0.5}
    """
    short = {key.split('/', 1)[-1]: value for key, value in record.items()}
    return {name: short[key] for name, keys in LOGGED_AP.items() for key in keys if key in short}


def training_seconds(work_dir: str | Path) -> float:
    """How long the last training of a folder took, over all interruptions, from what it logged."""
    seconds, last = 0.0, 0
    for record in read_scalars(work_dir):
        if 'loss' in record:
            seconds += record['time'] * (record['step'] - last)
            last = record['step']
    return seconds


def plot_training(work_dir: str | Path, out: str | Path, title: str = '') -> Path:
    """Losses and, where it was tested, AP against iterations, as one picture.

    Raises:
        ValueError: the run has logged nothing.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    records = read_scalars(work_dir)
    training = [record for record in records if 'loss' in record]
    if not training:
        raise ValueError(f'{work_dir} holds no training log (<timestamp>/vis_data/scalars.json)')
    tested = [record for record in records if logged_ap(record)]
    columns = 2 if tested else 1
    figure = Figure(figsize=(5 * columns, 3.8), layout='constrained')
    left, *rest = figure.subplots(1, columns, squeeze=False)[0]
    steps = [record['step'] for record in training]
    for color, key in zip(COLORS, [k for k in training[0] if k.startswith('loss')]):
        values = [record.get(key, np.nan) for record in training]
        left.plot(steps, values, '-' if len(steps) > 10 else 'o-', color=color, label=key)
    left.set(xlabel='iteration', ylabel='loss (smoothed)', ylim=(0, None))
    left.legend(frameon=False)
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    for right in rest:
        measured = [record['iteration'] for record in tested]
        for color, name in zip(COLORS, LOGGED_AP):
            values = [logged_ap(record).get(name, np.nan) for record in tested]
            right.plot(measured, values, 'o-', color=color, label=name, clip_on=False)
        right.set(xlabel='iteration', ylabel='AP on held-out images', ylim=(0, 1))
        right.set_xlim(0, max(measured[-1], steps[-1]))
        right.xaxis.set_major_locator(MaxNLocator(integer=True))
        right.legend(frameon=False, loc='upper left')
    figure.suptitle(title)
    return _save(figure, out)


def plot_precision_recall(evaluated: COCOeval, out: str | Path, title: str = '') -> Path:
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
        if not (precision[at] >= 0).any():  # no class has an object
            continue
        values = np.where(precision[at] < 0, np.nan, precision[at])
        curve = np.nanmean(values, axis=1)
        axes.plot(
            evaluated.params.recThrs,
            curve,
            color=color,
            label=f'IoU {threshold:.2f}: AP {np.nanmean(curve):.3f}',
        )
    axes.set(xlabel='recall', ylabel='precision (mean over classes)', xlim=(0, 1), ylim=(0, 1.02))
    if axes.lines:
        axes.legend(framealpha=0.9, loc='lower left')
    axes.set_title(title, fontsize=10)
    return _save(figure, out)


def _save(figure: Figure, out: str | Path) -> Path:
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=130)
    return out
