"""Which optimisation brings the AP-loss down (AP Loss paper, TPAMI, Fig. 8).

A detector is trained on classification alone by the error-driven update, by the derivative of a
smoothed AP, and by the structured hinge. What is compared is one number for all three: one minus
the interpolated AP of the scores in each batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from mmengine.config import Config, ConfigDict

from rankdet.analysis.checks import check_at_least
from rankdet.analysis.figures.proposals import train_rpn
from rankdet.analysis.figures.runs import Run, checkpoint_at, plain_training
from rankdet.analysis.figures.series import draw_band, mean_series, window_means
from rankdet.analysis.figures.style import look, panels, runs_text
from rankdet.analysis.figures.trainings import train_once
from rankdet.engine.errors import UserError
from rankdet.engine.launch import load_config

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METHODS = {
    'error-driven update': 'APLoss',
    'approximate gradient': 'ApproxAPLoss',
    'structured hinge': 'StructuredHingeAPLoss',
}
#: A run whose AP-loss ends above this has not converged; it is tried again from a snapshot.
NOT_CONVERGED = 0.95


@dataclass(frozen=True)
class Trials:
    """What the trainings of both figures share.

    Attributes:
        config: of a one-stage detector with a head of rankdet; losses and schedule are replaced.
        work_dir: gets a folder for each training, named by all that it depends on; one that is
            complete is not trained again.
        iterations: of each.
        seeds: one training each, averaged.
        lr: learning rate; None keeps that of the config. It rises over the first tenth of the
            iterations and stays.
        report: called with a line for each training done.
    """

    config: Path
    work_dir: Path
    iterations: int = 500
    seeds: Sequence[int] = (0,)
    lr: float | None = None
    report: Callable[[str], None] = lambda line: None

    def __post_init__(self) -> None:
        if self.iterations < 1 or not self.seeds:
            raise ValueError(
                f'iterations must be at least 1 and seeds not empty, got {self.iterations} and '
                f'{list(self.seeds)}'
            )

    def settings(self, seed: int) -> Config:
        """The config with this schedule: counts iterations, tests nothing, logs each one."""
        cfg = load_config(str(self.config))
        cfg = plain_training(cfg, self.work_dir, self.iterations, seed, self.lr)
        head = cfg.model.get('bbox_head') or {}
        if not str(head.get('type', '')).startswith('Rank'):
            raise UserError(
                f'config {self.config} has no bbox_head of rankdet (RankRetinaHead, RankSSDHead, '
                '...), which alone takes all three losses'
            )
        return cfg

    def train(
        self,
        name: str,
        loss: str,
        seed: int,
        *,
        start: Path | None = None,
        samples: dict | None = None,
    ) -> Path:
        """The folder of one training, done now if it is not there yet."""
        cfg = self.settings(seed)
        head = cfg.model.bbox_head
        head.loss_cls = ConfigDict(type=loss)
        head.loss_bbox = ConfigDict(type='SmoothL1Loss', loss_weight=0.0)
        head.pop('reg_decoded_bbox', None)
        cfg.custom_hooks = [ConfigDict(type='LossRecorder')]
        if samples:
            cfg.custom_hooks.append(ConfigDict(type='ProposalSamples', **samples))
        cfg.load_from = str(start) if start else None
        return train_once(cfg, f'{name}_{loss}_seed{seed}', self.report)


def losses_of(folder: Path) -> dict[int, float]:
    """Iteration to AP-loss of a training."""
    return {record['step']: record['ap_loss'] for record in Run(folder, folder.name).records()}


def convergence(trials: Trials, *, window: int = 10) -> dict:
    """AP-loss over the iterations under the three methods, box regression off (Fig. 8 a).

    Args:
        trials: the trainings.
        window: iterations to average.

    Returns:
        ``curves``: for each method ``steps``, ``mean``, ``low`` and ``high`` over the seeds.
    """
    check_at_least(1, window=window)
    curves = []
    for label, loss in METHODS.items():
        series = [losses_of(trials.train('all', loss, seed)) for seed in trials.seeds]
        smooth = mean_series([window_means(one, window) for one in series])
        curves.append(dict(label=label, runs=len(trials.seeds), **smooth))
    return dict(figure='convergence', window=window, curves=curves)


def draw_convergence(data: Mapping) -> Figure:
    """One curve a method."""
    figure, axes = panels(width=5.6, height=3.8)
    ax = axes[0, 0]
    for index, curve in enumerate(data['curves']):
        draw_band(ax, curve, look(index), curve['label'] + runs_text(curve['runs']))
    ax.set(
        xlabel='iteration', ylabel='AP-loss (1 − AP of the batch)', xlim=(0, None), ylim=(0, 1.02)
    )
    ax.legend(loc='lower left')
    return figure


def imbalance(trials: Trials, samples: Sequence[int], *, rpn_iterations: int | None = None) -> dict:
    """Final AP-loss against the samples of an image (Fig. 8 b).

    The samples are the anchors that an RPN scores highest, and all positives; the RPN is trained
    first, on the same anchors. A training that does not converge is tried again from the snapshot
    of the same method with the fewest samples, and says so.

    Args:
        trials: the trainings.
        samples: how many anchors an image, ascending.
        rpn_iterations: of the RPN; None takes those of the trials.

    Returns:
        ``curves``: for each method ``samples``, ``final`` (mean AP-loss of the last tenth of the
        iterations) and ``from_snapshot``.
    """
    if not samples or min(samples) < 1:
        raise ValueError(f'samples must be numbers of anchors >= 1, got {list(samples)}')
    check_at_least(1, rpn_iterations=rpn_iterations)
    samples = sorted(set(samples))
    settings = trials.settings(trials.seeds[0])
    iterations = trials.iterations if rpn_iterations is None else rpn_iterations
    rpn = train_rpn(settings, iterations, trials.report)
    curves = []
    for label, loss in METHODS.items():
        finals, again = [], []
        for count in samples:
            values, restarted = [], False
            for seed in trials.seeds:
                value, from_snapshot = _final(trials, loss, count, samples[0], seed, rpn)
                values.append(value)
                restarted |= from_snapshot
            finals.append(float(np.mean(values)))
            again.append(restarted)
        curves.append(dict(label=label, samples=samples, final=finals, from_snapshot=again))
    return dict(figure='imbalance', seeds=len(trials.seeds), curves=curves)


def _final(
    trials: Trials, loss: str, count: int, fewest: int, seed: int, rpn: dict
) -> tuple[float, bool]:
    chosen = rpn | dict(count=count)
    value = last_tenth(losses_of(trials.train(f'top{count}', loss, seed, samples=chosen)))
    if value <= NOT_CONVERGED or count == fewest:
        return value, False
    first = trials.train(f'top{fewest}', loss, seed, samples=rpn | dict(count=fewest))
    snapshot, name = checkpoint_at(first, trials.iterations), f'top{count}-from-top{fewest}'
    again = trials.train(name, loss, seed, samples=chosen, start=snapshot)
    return last_tenth(losses_of(again)), True


def last_tenth(losses: Mapping[int, float]) -> float:
    """Mean over the last tenth of the iterations.

    >>> last_tenth({step: float(step) for step in range(1, 21)})
    19.5
    """
    steps = sorted(losses)
    return float(np.mean([losses[step] for step in steps[-max(1, len(steps) // 10) :]]))


def draw_imbalance(data: Mapping) -> Figure:
    """One curve a method; hollow marks and dashes where it took a snapshot to converge."""
    figure, axes = panels(width=5.6, height=3.8)
    ax = axes[0, 0]
    for index, curve in enumerate(data['curves']):
        color = look(index)['color']
        marker = 'osD'[index]
        ax.plot([], [], color=color, marker=marker, label=curve['label'])
        points = list(zip(curve['samples'], curve['final'], curve['from_snapshot']))
        for (x0, y0, _), (x1, y1, again) in pairwise(points):
            ax.plot([x0, x1], [y0, y1], color=color, linestyle='--' if again else '-')
        for x, y, again in points:
            ax.plot(x, y, marker, color=color, markerfacecolor='white' if again else color)
    if any(any(curve['from_snapshot']) for curve in data['curves']):
        ax.plot([], [], 'o--', color='0.3', markerfacecolor='white', label='from a snapshot')
    ax.set(
        xlabel='anchors per image, beside the positives', xscale='log',
        ylabel='final AP-loss (1 − AP)', ylim=(0, 1.02),
    )  # fmt: skip
    ticks = data['curves'][0]['samples']
    ax.set_xticks(ticks, [f'{tick:,}' for tick in ticks])
    ax.minorticks_off()
    ax.legend(loc='best', fontsize=8.5)
    return figure
