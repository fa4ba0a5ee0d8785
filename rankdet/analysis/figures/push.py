"""Where in the ranking AP, AUC and focal loss push, on the scores of the same detectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from mmdet.models.utils import unpack_gt_instances
from torch import Tensor

from rankdet.analysis.checks import check_device
from rankdet.analysis.figures.runs import Run, by_label, load_model, training_batch
from rankdet.analysis.figures.style import grid, look, runs_text
from rankdet.analysis.push import LOSSES, push_profile
from rankdet.analysis.push import push as push_of
from rankdet.engine.errors import UserError
from rankdet.engine.recorder import dense_head, rows_of, targets_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = {
    'value': 'value',
    'push': 'push',
    'on_highest': 'on the #P highest',
    'on_wrong': 'on the wrong',
    'wrong': 'wrong',
    'positives': '#P',
    'negatives': '#N',
}
_MARKS = 80  # of each curve


def push(runs: Sequence[Run], *, device: str | None = None) -> dict:
    """How each loss would push the negatives that a detector scores now.

    Every loss is asked about the same scores, whatever the detector was trained by: those of the
    newest checkpoint on its first training batch. Runs of one label are averaged.

    Args:
        runs: with a checkpoint, of a head that scores each class by itself.
        device: None takes a GPU if there is one.

    Returns:
        ``panels``: for each label ``losses``, what :func:`rankdet.analysis.push.push` says of each
        loss, and ``ranks`` with, for each loss, the ``profile``: the share of its push that is on
        so many of the highest negatives.

    Raises:
        UserError: a head scores by a softmax, or a run's data, checkpoint and config do not fit.
    """
    check_device(device)
    panels = []
    for label, group in by_label(runs).items():
        found = [training_scores(run, device) for run in group]
        count = min(int((targets == 0).sum()) for _, targets in found)
        ranks = np.unique(np.geomspace(1, count, _MARKS).round().astype(int))
        losses, profiles = {}, {}
        for name, loss in LOSSES.items():
            said = [push_of(loss, *one) for one in found]
            losses[name] = {key: float(np.mean([one[key] for one in said])) for key in said[0]}
            shares = [push_profile(loss, *one).cpu().numpy()[ranks] for one in found]
            profiles[name] = np.mean(shares, 0)
        panels.append(dict(label=label, runs=len(group), losses=losses, ranks=ranks,
                           profile=profiles))  # fmt: skip
    return dict(figure='push', panels=panels)


def training_scores(run: Run, device: str | None = None) -> tuple[Tensor, Tensor]:
    """Logits ``(N, A, C)`` and one-hot targets, -1 where ignored, of the first training batch.

    Raises:
        UserError: the scores are a softmax, or no anchor of the batch is positive.
    """
    model, batch = load_model(run, device), training_batch(run)
    head = dense_head(model)
    model.train()  # batch norm as the losses see it
    with torch.no_grad():
        data = model.data_preprocessor(batch, True)
        outputs = head(model.extract_feat(data['inputs']))
        objects, ignored, metas = unpack_gt_instances(data['data_samples'])
        rows = rows_of(head, *outputs, objects, metas, ignored)
    if rows.logits.shape[-1] != head.num_classes:
        raise UserError(
            f'{run.config_file}: its head scores all classes by one softmax, but AP and AUC Loss '
            'rank a score of each class; take a run of another loss'
        )
    labels = targets_of(rows)[..., None]
    classes = torch.arange(head.num_classes, device=labels.device)
    targets = (labels == classes).long().masked_fill(labels < 0, -1)
    if not (targets == 1).any():
        raise UserError(f'{run.config_file}: its first training batch has no positive anchor')
    return rows.logits.float(), targets


def push_table(data: dict) -> str:
    """The numbers as a table in Markdown, with what its columns are below."""
    lines = [
        '| ' + ' | '.join(['scores of', 'loss', *COLUMNS.values()]) + ' |',
        '|---|---' + '|---:' * len(COLUMNS) + '|',
    ]
    for panel in data['panels']:
        for name, found in panel['losses'].items():
            cells = [_text(key, found[key]) for key in COLUMNS]
            lines.append('| ' + ' | '.join([_name(panel), name, *cells]) + ' |')
    lines += [
        '',
        'push: sum of the gradients at the negatives, and its shares on the #P highest of them and',
        'on the wrong ones; wrong: negatives above the median positive; #P, #N: positives and',
        'negatives. Each loss is asked about the scores that the detector gives now.',
    ]
    return '\n'.join(lines)


def _name(panel: dict) -> str:
    return panel['label'] + runs_text(panel['runs'])


def _text(key: str, value: float) -> str:
    if key in ('value', 'push'):
        return f'{value:.4f}'
    return f'{100 * value:.1f} %' if key.startswith('on_') else f'{value:,.0f}'


def draw_push(data: dict) -> Figure:
    """One panel a detector, one curve a loss."""
    panels = data['panels']
    figure, axes = grid(len(panels))
    for ax, panel in zip(axes, panels):
        for index, (name, profile) in enumerate(panel['profile'].items()):
            ax.plot(panel['ranks'], 100 * np.asarray(profile), label=name, **look(index))
        counts = next(iter(panel['losses'].values()))
        ax.axvline(counts['positives'], color='0.5', lw=0.9, label='as many as positives')
        ax.axvline(max(counts['wrong'], 1), color='0.5', lw=0.9, ls=':',
                   label='above the median positive')  # fmt: skip
        ax.set(xscale='log', xlim=(1, None), ylim=(0, 101))
        ax.set_title(f'scores of {_name(panel)}', fontsize=10)
    figure.legend(*axes[0].get_legend_handles_labels(), fontsize=8.5, loc='outside upper center',
                  ncols=5 if len(panels) > 1 else 2)  # fmt: skip
    figure.supxlabel('how many of the highest negatives', fontsize=10)
    figure.supylabel('share of the push on them (%)', fontsize=10)
    return figure
