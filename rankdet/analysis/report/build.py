"""What the page is made of."""

from __future__ import annotations

import io
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from html import escape
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mmdet
import mmengine
import numpy as np
import torch

from rankdet.analysis import figures
from rankdet.analysis.curves import plot_training
from rankdet.analysis.figures.ap_curves import logged_metric
from rankdet.analysis.figures.predictions import predict
from rankdet.analysis.figures.runs import Run, open_runs
from rankdet.analysis.report import page
from rankdet.analysis.report.drawing import draw_image
from rankdet.analysis.report.image_errors import best_and_worst, image_errors
from rankdet.engine.errors import UserError
from rankdet.evaluation import Evaluation, Matching
from rankdet.evaluation.report import evaluate_matching, match_for_all

METRICS = (
    'AP', 'AP50', 'AP75', 'AP90', 'AP_S', 'AP_M', 'AP_L',
    'oLRP', 'oLRP_loc', 'oLRP_fp', 'oLRP_fn', 'rho',
)  # fmt: skip
LOWER = ('oLRP', 'oLRP_loc', 'oLRP_fp', 'oLRP_fn')
Report = Callable[[str], None]


@dataclass(frozen=True)
class Tested:
    """One run and what it detects."""

    run: Run
    name: str
    matching: Matching
    evaluation: Evaluation


def build_report(
    paths: Sequence[str | Path],
    out: str | Path,
    *,
    config: str | Path | None = None,
    labels: Sequence[str] | None = None,
    title: str = 'Detectors compared',
    pictures: int = 6,
    images: int | None = None,
    device: str | None = None,
    report: Report = lambda line: None,
) -> Path:
    """Test the newest checkpoint of each run and write one page of HTML about all of them.

    It has the metrics, the training curves, the analyses that the runs allow for (what is left
    out, and why, stands in its place), pictures of the images with the best and the worst LRP,
    and the configs. It needs no other file and no network.

    Args:
        paths: folders of trainings, or checkpoints in them.
        out: the HTML file.
        config: of all runs; None takes the one beside each checkpoint.
        labels: one a run.
        title: of the page.
        pictures: how many of the best and of the worst images of each run.
        images: how many images the scatter and the densities take; None takes all.
        device: for those two; None takes a GPU if there is one.
        report: called with a line for each step.

    Returns:
        ``out``.

    Raises:
        UserError: a run has no config or no checkpoint, they do not fit, or an image is missing.
        ValueError: a data set has no boxes.
    """
    if pictures < 0:
        raise ValueError(f'pictures must be at least 0, got {pictures}')
    runs = open_runs(paths, config=config, labels=labels)
    tested = []
    for run, name in zip(runs, _names(runs)):
        report(f'testing {name}')
        matching = match_for_all(*predict(run))
        tested.append(Tested(run, name, matching, evaluate_matching(matching, bounds=False)))
    sections = [('metrics', 'Metrics', _metrics(tested))]
    sections.append(('analyses', 'Analyses', ''.join(_analyses(runs, images, device, report))))
    for number, one in enumerate(tested, 1):
        report(f'drawing {one.name}')
        sections.append((f'run{number}', one.name, _about(one, pictures)))
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page.document(title, sections, page.note(_made_with())), encoding='utf-8')
    return out


def _names(runs: Sequence[Run]) -> list[str]:
    """Labels, with the folder where several runs have the same."""
    labels = [run.label for run in runs]
    return [
        label if labels.count(label) == 1 else f'{label} ({run.folder.resolve().name})'
        for run, label in zip(runs, labels)
    ]


def _made_with() -> str:
    return (
        f'Made on {date.today()} with rankdet {version("rankdet")}, MMDetection '
        f'{mmdet.__version__}, MMEngine {mmengine.__version__}, torch {torch.__version__}, '
        f'Python {platform.python_version()}.'
    )


def _metrics(tested: Sequence[Tested]) -> str:
    rows = {one.name: one.evaluation.summary() for one in tested}
    truth = tested[0].matching.gt
    text = (
        f'On {len(truth.image_ids)} images with {len(truth)} objects. oLRP is an error: lower is '
        'better. rho: rank correlation of the scores and IoUs of true positives.'
    )
    return page.table('run', rows, METRICS, LOWER) + page.note(text)


def _analyses(
    runs: Sequence[Run], images: int | None, device: str | None, report: Report
) -> Iterator[str]:
    """Every figure that these runs allow for; for the others the reason."""
    shared: dict[str, Any] = dict(images=images, device=device)
    recorded = [run for run in runs if list(run.folder.glob('*/vis_data/losses.jsonl'))]
    balanced = [run for run in runs if _logs_alrp(run)]
    validated = [run for run in runs if len(logged_metric(run.folder, 'AP')) > 1]
    plans: list[tuple[str, Sequence[Run], Callable, Any]] = [
        ('AP against iterations', validated, figures.ap_curves, figures.draw_ap_curves),
        ('Score against IoU of anchors', runs, partial(figures.scatter, points=1500, **shared),
         figures.draw_scatter),
        ('Densities of scores', runs, partial(figures.densities, **shared),
         (figures.draw_densities, figures.draw_separation)),
        ('Gradients of negatives against those of positives', recorded, figures.gradients,
         figures.draw_gradients),
        ('Time of the loss', recorded, figures.loss_time, figures.draw_loss_time),
        ('aLRP Loss and its parts', balanced, figures.balance, figures.draw_balance),
    ]  # fmt: skip
    reasons: dict[Callable, str] = {
        figures.ap_curves: 'no run was validated more than once while it trained '
        '(tools/analyze.py ap-curves tests the checkpoints of such runs)',
        figures.gradients: 'no run was trained with the LossRecorder',
        figures.loss_time: 'no run was trained with the LossRecorder',
        figures.balance: 'no run has a log with aLRP Loss',
    }
    for heading, subject, gather, draws in plans:
        yield f'<h3>{escape(heading)}</h3>'
        if not subject:
            yield page.note(f'Left out: {reasons[gather]}.')
            continue
        report(f'drawing {heading}')
        try:
            data = gather(subject)
        except (UserError, ValueError) as error:
            yield page.note(f'Left out: {error}.')
            continue
        for draw in draws if isinstance(draws, tuple) else (draws,):
            yield page.chart(_png(draw(data)), heading)


def _logs_alrp(run: Run) -> bool:
    try:
        return any('aLRP' in key for record in run.log() for key in record)
    except UserError:
        return False


def _about(one: Tested, pictures: int) -> str:
    """Curves, classes, pictures and config of one run."""
    parts = [page.note(f'{one.run.checkpoint.name} of {one.run.folder.resolve().name}')]
    parts.append('<h3>Training</h3>')
    with TemporaryDirectory() as folder:
        try:
            drawn = plot_training(one.run.folder, Path(folder) / 'training.png')
            parts.append(page.chart(drawn.read_bytes(), 'training curves'))
        except ValueError:
            parts.append(page.note('Left out: this run has no log.'))
    classes = one.evaluation.per_class()
    columns = ('AP', 'oLRP', 'oLRP_loc', 'oLRP_fp', 'oLRP_fn', 'threshold', 'rho')
    parts += ['<h3>Classes</h3>', page.table('class', classes, columns, mark_best=False)]
    if pictures:
        parts += _pictures(one, pictures)
    parts.append('<h3>Config</h3>')
    parts.append(page.folded('show', one.run.config.pretty_text))
    return ''.join(parts)


def _pictures(one: Tested, count: int) -> Iterator[str]:
    thresholds = [found.threshold for found in one.evaluation.lrp.per_class]
    errors = image_errors(one.matching, np.array(thresholds))
    best, worst = best_and_worst(errors, count)
    yield page.note(
        'Below: first the ground truth (green), then the detections above the LRP-optimal score '
        'of their class, blue where they found an object at IoU 0.5, orange where not.'
    )
    for heading, chosen in (('Best images', best), ('Worst images', worst)):
        drawn = [draw_image(one.run, one.matching, errors, image) for image in chosen]
        yield f'<h3>{heading}</h3>{page.pictures(drawn)}'


def _png(figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=110)
    return buffer.getvalue()
