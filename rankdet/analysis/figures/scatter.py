"""Scores of anchors against their IoUs (AP Loss paper, TPAMI, Fig. 7)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rankdet.analysis.checks import check_at_least, check_device
from rankdet.analysis.figures.examples import Examples, examples
from rankdet.analysis.figures.runs import Run, by_label
from rankdet.analysis.figures.style import grid, look
from rankdet.engine.errors import UserError
from rankdet.evaluation.rank_correlation import rank_correlation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Assignment of an anchor, with the colour it is drawn in.
KINDS = {'negative': look(1)['color'], 'ignored': '0.6', 'positive': look(0)['color']}


def scatter(
    runs: Sequence[Run],
    *,
    points: int = 4000,
    images: int | None = None,
    device: str | None = None,
    seed: int = 0,
) -> dict:
    """Pairs of IoU and score of the anchors, at the newest checkpoint of each run.

    The IoU is that of an anchor and the object that it overlaps most. The score is its
    probability for that object's class; the highest of all classes where it overlaps nothing.

    Args:
        runs: with a checkpoint; of several with one label the first is taken.
        points: most pairs of each kind to keep, drawn at random; the correlation takes all.
        images: how many images to take of each data set; None takes all.
        device: None takes a GPU if there is one.
        seed: of that draw.

    Returns:
        ``panels``: for each label ``rho``, the rank correlation of score and IoU over the
        positives, and for 'positive', 'ignored' and 'negative' the ``count`` of anchors and the
        kept ``iou`` and ``score``.

    Raises:
        UserError: the head has no anchors, a data set no boxes, or a checkpoint does not fit.
    """
    check_at_least(1, points=points, images=images)
    check_device(device)
    found = []
    for label, group in by_label(runs).items():
        draws = {kind: _Draw(points, (seed, number)) for number, kind in enumerate(KINDS)}
        positives = []
        for part in examples(group[0], images=images, device=device):
            for kind, pairs in score_pairs(part).items():
                draws[kind].add(pairs)
                if kind == 'positive':
                    positives.append(pairs)
        pairs = np.concatenate(positives)
        panel: dict[str, Any] = dict(label=label, rho=rank_correlation(pairs[:, 1], pairs[:, 0]))
        for kind, draw in draws.items():
            panel[kind] = dict(count=draw.count, iou=draw.rows[:, 0], score=draw.rows[:, 1])
        found.append(panel)
    return dict(figure='scatter', panels=found)


class _Draw:
    """At most ``most`` of the rows that are added, all with the same chance.

    Of all anchors of a large data set there are more than memory holds.
    """

    def __init__(self, most: int, seed: tuple[int, int]) -> None:
        self.most, self.random = most, np.random.default_rng(seed)
        self.count = 0
        self.rows: np.ndarray = np.empty((0, 2))
        self.keys: np.ndarray = np.empty(0)

    def add(self, rows: np.ndarray) -> None:
        self.count += len(rows)
        self.rows = np.concatenate([self.rows, rows])
        self.keys = np.concatenate([self.keys, self.random.random(len(rows))])
        if len(self.keys) > self.most:
            kept = np.argpartition(self.keys, self.most)[: self.most]
            self.rows, self.keys = self.rows[kept], self.keys[kept]


def score_pairs(part: Examples) -> dict[str, np.ndarray]:
    """``(n, 2)`` IoU and score of the anchors of each kind."""
    if part.ious is None or part.matched is None:
        raise UserError('this head has no anchors, so there are no IoUs to draw scores against')
    p, ious = part.probabilities, part.ious
    own = p.gather(1, part.matched.clamp(min=0)[:, None]).squeeze(1)
    score = own.where(part.matched >= 0, p.amax(1))
    pairs = np.stack([ious.cpu().numpy(), score.cpu().numpy()], 1).astype(float)
    positive, ignored = part.is_positive.cpu().numpy(), (part.targets < 0).cpu().numpy()
    kinds = dict(negative=~positive & ~ignored, ignored=ignored, positive=positive)
    return {kind: pairs[mask] for kind, mask in kinds.items()}


def draw_scatter(data: dict) -> Figure:
    """One panel a run."""
    figure, axes = grid(len(data['panels']))
    for ax, panel in zip(axes, data['panels']):
        for kind, color in KINDS.items():
            dots = panel[kind]
            ax.scatter(
                dots['iou'],
                dots['score'],
                s=3,
                color=color,
                alpha=0.5,
                linewidths=0,
                label=kind,
                rasterized=True,  # thousands of dots would make the SVG huge
            )
        ax.set(xlim=(-0.02, 1), ylim=(-0.01, 1.01))
        ax.set_title(f'{panel["label"]}   (ρ of positives {panel["rho"]:.2f})', fontsize=10)
    axes[0].legend(loc='upper left', markerscale=4, fontsize=8, handletextpad=0.2)
    figure.supxlabel('IoU of anchor and object', fontsize=10)
    figure.supylabel('score for the class of the object', fontsize=10)
    return figure
