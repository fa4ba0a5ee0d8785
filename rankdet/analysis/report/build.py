"""What the page is made of."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import mmdet
import mmengine
import numpy as np
import torch

from rankdet.analysis.checks import check_at_least, check_device
from rankdet.analysis.curves import plot_training
from rankdet.analysis.figures.predictions import predict
from rankdet.analysis.figures.runs import Run, annotation_file, open_runs
from rankdet.analysis.report import page
from rankdet.analysis.report.analyses import Report, analyses, included, read_results
from rankdet.analysis.report.drawing import draw_image
from rankdet.analysis.report.image_errors import best_and_worst, image_errors
from rankdet.evaluation import Evaluation, GroundTruth, Matching
from rankdet.evaluation.report import evaluate_matching, match_for_all

METRICS = (
    'AP', 'AP50', 'AP75', 'AP90', 'AP_S', 'AP_M', 'AP_L',
    'oLRP', 'oLRP_loc', 'oLRP_fp', 'oLRP_fn', 'rho',
)  # fmt: skip
LOWER = ('oLRP', 'oLRP_loc', 'oLRP_fp', 'oLRP_fn')


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
    include: Sequence[str | Path] = (),
    report: Report = lambda line: None,
) -> Path:
    """Test the newest checkpoint of each run and write one page of HTML about all of them.

    It has the metrics, the training curves, the analyses that the runs allow for (which run is
    left out of one, and why, stands there), the results that ``include`` names, pictures of the
    images with the best and the worst LRP, and the configs. It needs no other file and no network.

    Args:
        paths: folders of trainings, or checkpoints in them.
        out: the HTML file.
        config: of all runs; None takes the one beside each checkpoint.
        labels: one a run.
        title: of the page.
        pictures: how many of the best and of the worst images of each run.
        images: how many images the scatter and the densities take; None takes all.
        device: for all analyses of checkpoints; None takes a GPU if there is one.
        include: results that are there already: ``.json`` files of tools/analyze.py and
            tools/robustness.py.
        report: called with a line for each step.

    Returns:
        ``out``.

    Raises:
        UserError: a run has no config or no checkpoint, they do not fit, an image is missing, or a
            file of ``include`` holds no results.
        ValueError: a data set has no boxes.
    """
    check_at_least(0, pictures=pictures)
    check_at_least(1, images=images)
    check_device(device)
    added = read_results(include)
    runs = open_runs(paths, config=config, labels=labels)
    tested = []
    for run, name in zip(runs, _names(runs)):
        run = replace(run, label=name)  # figures average runs of one label: here each is its own
        report(f'testing {name}')
        matching = match_for_all(*predict(run))
        tested.append(Tested(run, name, matching, evaluate_matching(matching, bounds=False)))
    sections = [('metrics', 'Metrics', _metrics(tested))]
    named = [one.run for one in tested]
    drawn = [*analyses(named, images, device, report), *included(added)]
    sections.append(('analyses', 'Analyses', ''.join(drawn)))
    for number, one in enumerate(tested, 1):
        report(f'drawing {one.name}')
        sections.append((f'run{number}', one.name, _about(one, pictures)))
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page.document(title, sections, page.note(_made_with())), encoding='utf-8')
    return out


def _names(runs: Sequence[Run]) -> list[str]:
    """Labels, each its own: with folder, checkpoint or number where several runs have the same."""
    names = [run.label for run in runs]
    for tell in (
        lambda number, run: run.folder.resolve().name,
        lambda number, run: run.checkpoint.name,
        lambda number, run: str(number),
    ):
        names = [
            name if names.count(name) == 1 else f'{name} ({tell(number, run)})'
            for number, (name, run) in enumerate(zip(names, runs), 1)
        ]
    return names


def _made_with() -> str:
    return (
        f'Made on {date.today()} with rankdet {version("rankdet")}, MMDetection '
        f'{mmdet.__version__}, MMEngine {mmengine.__version__}, torch {torch.__version__}, '
        f'Python {platform.python_version()}.'
    )


def _metrics(tested: Sequence[Tested]) -> str:
    """The table; where the runs were tested on different data it says so, and nothing is best."""
    rows = {one.name: one.evaluation.summary() for one in tested}
    first = tested[0].matching.gt
    same = all(_same(one.matching.gt, first) for one in tested)
    text = (
        'oLRP is an error: lower is better. rho: rank correlation of the scores and IoUs of true '
    )
    text += 'positives.'
    if same:
        text = f'On {_data_text(tested[0])}. {text}'
    notes = [] if same else ['Tested on different data: the rows cannot be compared.']
    notes += [] if same else [f'{one.name}: on {_data_text(one)}.' for one in tested]
    table = page.table('run', rows, METRICS, LOWER, mark_best=same)
    return table + ''.join(map(page.note, [*notes, text]))


def _same(a: GroundTruth, b: GroundTruth) -> bool:
    """Whether images, classes and objects are the same."""
    names = ('image_ids', 'class_names', 'image', 'label', 'boxes', 'crowd')
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in names)


def _data_text(one: Tested) -> str:
    gt, file = one.matching.gt, annotation_file(one.run.config)
    return (
        f'{len(gt.image_ids)} images with {len(gt)} objects of {len(gt.class_ids)} classes '
        f'({file.name} in {file.resolve().parent.parent.name})'
    )


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
