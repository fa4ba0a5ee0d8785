"""Time and memory of the losses, over a training and by batch size (TPAMI, Fig. 9 to 11)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from mmdet.models.utils import unpack_gt_instances

from rankdet.analysis.checks import check_device
from rankdet.analysis.figures.runs import Run, by_label, load_model, training_batch
from rankdet.analysis.figures.series import draw_band, mean_series, window_means
from rankdet.analysis.figures.style import legend_text, look, panels
from rankdet.engine.recorder import (
    clock,
    dense_head,
    measure_loss,
    measure_loss_memory,
    peak_bytes,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mmdet.models import BaseDetector

OVER_TRAINING = {
    'iteration_seconds': 'whole iteration (ms)',
    'loss_seconds': 'classification loss (ms)',
    'loss_bytes': 'memory of the loss (MB)',
}
_UNIT = {'iteration_seconds': 1e3, 'loss_seconds': 1e3, 'loss_bytes': 1e-6}


def loss_time(runs: Sequence[Run], *, window: int = 10) -> dict:
    """Time of the loss and of the whole iteration over a training (Fig. 10), and its memory.

    Args:
        runs: recorded by :class:`rankdet.engine.recorder.LossRecorder`; runs of one label are
            averaged.
        window: records to average: single times are noisy.

    Returns:
        ``curves``: for each label those of ``iteration_seconds``, ``loss_seconds`` and
        ``loss_bytes`` that were recorded, each with ``steps``, ``mean``, ``low`` and ``high``.

    Raises:
        UserError: a run was not recorded.
    """
    if window < 1:
        raise ValueError(f'window must be at least 1, got {window}')
    curves = []
    for label, group in by_label(runs).items():
        records = [run.records() for run in group]
        curve = dict(label=label, runs=len(group))
        for key in OVER_TRAINING:
            if all(record.get(key) is not None for one in records for record in one):
                # The first iteration also warms up.
                series = [{r['step']: r[key] for r in one[1:] or one} for one in records]
                curve[key] = mean_series([window_means(one, window) for one in series])
        curves.append(curve)
    return dict(figure='loss-time', window=window, curves=curves)


def draw_loss_time(data: dict) -> Figure:
    """One panel for each quantity."""
    keys = [key for key in OVER_TRAINING if any(key in curve for curve in data['curves'])]
    figure, axes = panels(1, len(keys), width=4.2)
    for ax, key in zip(axes[0], keys):
        for index, curve in enumerate(data['curves']):
            if key in curve:
                scaled = {
                    name: values if name == 'steps' else [value * _UNIT[key] for value in values]
                    for name, values in curve[key].items()
                }
                draw_band(ax, scaled, look(index), legend_text(curve))
        ax.set(xlabel='iteration', ylabel=OVER_TRAINING[key], ylim=(0, None))
    axes[0, -1].legend(fontsize=8.5)
    return figure


def loss_cost(
    runs: Sequence[Run],
    *,
    batch_sizes: Sequence[int] = (1, 2, 4, 8),
    rounds: int = 5,
    device: str | None = None,
) -> dict:
    """Time and memory of the losses by batch size (Fig. 9 and 11), at the newest checkpoints.

    The first training images are shown to each detector. All take turns, so that a busy machine
    is busy for all.

    Args:
        runs: with a checkpoint; of several with one label the first is taken.
        batch_sizes: ascending.
        rounds: measurements each, of which the least counts: all else that a machine does only
            adds to a time.
        device: None takes a GPU if there is one.

    Returns:
        ``batch_sizes`` and ``curves``, each with ``loss_seconds`` and ``loss_bytes`` (the
        classification loss and its gradient with respect to the scores) and ``network_seconds``
        and ``network_bytes`` (both passes of the detector without any loss).

    Raises:
        UserError: data, checkpoint and config do not fit.
    """
    if not batch_sizes or min(batch_sizes) < 1 or rounds < 1:
        raise ValueError(
            f'batch_sizes and rounds must be at least 1, got {list(batch_sizes)} and {rounds}'
        )
    check_device(device)
    firsts = {label: group[0] for label, group in by_label(runs).items()}
    models = {label: load_model(run, device) for label, run in firsts.items()}
    batches = {label: training_batch(run, max(batch_sizes)) for label, run in firsts.items()}
    keys = ('loss_seconds', 'loss_bytes', 'network_seconds', 'network_bytes')
    curves: dict[str, dict] = {}
    for label in models:
        curves[label] = dict(label=label, **{key: [] for key in keys})
    for size in batch_sizes:
        found: dict[str, list[dict]] = {label: [] for label in models}
        for turn in range(rounds + 1):
            for label, model in models.items():
                batch = {key: values[:size] for key, values in batches[label].items()}
                measured = _measure(model, batch, with_memory=turn == 0)
                if turn:  # the first one warms up, and measures memory
                    found[label].append(measured)
                else:
                    for key in ('loss_bytes', 'network_bytes'):
                        curves[label][key].append(measured[key])
        for label, values in found.items():
            for key in ('loss_seconds', 'network_seconds'):
                curves[label][key].append(min(v[key] for v in values))
    kind = next(next(iter(models.values())).parameters()).device.type
    return dict(
        figure='loss-cost', device=kind, threads=torch.get_num_threads(), rounds=rounds,
        batch_sizes=list(batch_sizes), curves=list(curves.values()),
    )  # fmt: skip


def _measure(model: BaseDetector, batch: dict, *, with_memory: bool) -> dict:
    """Seconds and bytes of one batch; the memory in passes of their own."""
    head, device = dense_head(model), next(model.parameters()).device
    data = model.data_preprocessor(batch, True)

    def both_passes() -> None:
        outputs = head(model.extract_feat(data['inputs']))
        sum(level.sum() for maps in outputs for level in maps).backward()
        model.zero_grad(set_to_none=True)

    started = clock(device)
    both_passes()
    found = dict(network_seconds=clock(device) - started)
    objects, ignored, metas = unpack_gt_instances(data['data_samples'])
    outputs = head(model.extract_feat(data['inputs']))
    features = [[level.detach().requires_grad_() for level in maps] for maps in outputs]
    features += [objects, metas, ignored]
    measured = measure_loss(head, head.loss_by_feat, *features)
    found['loss_seconds'] = measured.seconds if measured.seconds is not None else float('nan')
    if with_memory:
        found['network_bytes'] = peak_bytes(both_passes, device)
        found['loss_bytes'] = measure_loss_memory(
            head, head.loss_by_feat, measured.targets, *features
        )
    return found


def draw_loss_cost(data: dict) -> Figure:
    """Left the time, right the memory."""
    figure, axes = panels(1, 2, width=4.6)
    for ax, key, scale in ((axes[0, 0], 'loss_seconds', 1e3), (axes[0, 1], 'loss_bytes', 1e-6)):
        for index, curve in enumerate(data['curves']):
            values = [value * scale for value in curve[key]]
            ax.plot(
                data['batch_sizes'], values, marker='o', label=legend_text(curve), **look(index)
            )
        ax.set(xlabel='images in the batch', ylim=(0, None), xticks=data['batch_sizes'])
    axes[0, 0].set_ylabel('classification loss and gradient (ms)')
    axes[0, 1].set_ylabel('memory of the loss (MB)')
    axes[0, 0].legend(fontsize=8.5, handlelength=3.5)
    return figure
