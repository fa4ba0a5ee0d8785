"""The demo: from nothing to a detector trained by ranking, with pictures to judge it by."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from rankdet.analysis.advice import suggestions
from rankdet.analysis.curves import plot_precision_recall, plot_training, training_seconds
from rankdet.analysis.pictures import BLUE, GREEN, ORANGE, draw_boxes, page
from rankdet.analysis.reproduce.commands import locked, run_command
from rankdet.commands import tool_line
from rankdet.engine.errors import UserError
from rankdet.evaluation.coco_data import load_detections, load_ground_truth
from rankdet.evaluation.lrp import olrp

CONFIG = 'demo/retinanet_r18_fpn_{loss}_1xb8-3e_digits-160.py'
LOSSES = {'ap': 'ap-loss', 'focal': 'focal'}
SUMMARY = 'summary.json'


@dataclass(frozen=True)
class DemoOptions:
    """What a demo run depends on.

    Attributes:
        loss: 'ap' or 'focal'.
        train, val: numbers of scenes.
        epochs: None for those of the config.
        data: folder of the digit scenes.
    """

    loss: str = 'ap'
    train: int = 3200
    val: int = 200
    epochs: int | None = None
    data: str = 'data/digits'

    def check(self) -> None:
        """Raises UserError for what nothing can be learnt from."""
        for name in ('train', 'val', 'epochs'):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f'--{name} must be at least 1, got {value}')


def run_demo(options: DemoOptions, work_dir: str | Path, root: Path) -> dict:
    """Make the data, train, evaluate and draw; what is already there is not done again.

    Args:
        options: what to run.
        work_dir: folder for everything that it leaves.
        root: folder that holds ``configs/`` and ``tools/``.

    Returns:
        The summary, as it is stored in ``work_dir/summary.json``.

    Raises:
        UserError: an option is out of range, ``work_dir`` holds a run of others, another demo is
            at work in it, or a step failed.
    """
    options.check()
    work_dir = Path(work_dir)
    done = work_dir / SUMMARY
    options_file = work_dir / 'demo_options.json'
    if options_file.exists() and json.loads(options_file.read_text()) != asdict(options):
        raise UserError(
            f'{work_dir} holds a demo with other options ({options_file}); '
            'choose another --work-dir or delete that one'
        )
    if done.exists():
        return json.loads(done.read_text())

    data = Path(options.data)
    _step(
        f'1/4  {options.train} + {options.val} scenes of handwritten digits',
        [root / 'tools/make_digits.py', '--out', data]
        + ['--train', options.train, '--val', options.val],
    )
    work_dir.mkdir(parents=True, exist_ok=True)
    with locked(work_dir):
        _write_whole(options_file, json.dumps(asdict(options)))
        summary = _train_and_test(options, work_dir, root)
        (work_dir / 'summary.md').write_text(as_text(summary))
        _write_whole(done, json.dumps(summary, indent=2))
    return summary


def _train_and_test(options: DemoOptions, work_dir: Path, root: Path) -> dict:
    data, results = Path(options.data), work_dir / 'results'
    config = work_dir / 'demo_config.py'
    if not config.exists():  # it may have been edited since
        _write_whole(config, _config(options, root, results))
    _step(
        f'2/4  training by {LOSSES[options.loss]} (the log shows the time left as eta)',
        [root / 'tools/train.py', config, '--work-dir', work_dir, '--resume'],
        DIGITS=data,
    )
    checkpoint = work_dir / Path((work_dir / 'last_checkpoint').read_text().strip()).name
    written = Path(f'{results}.bbox.json')
    written.unlink(missing_ok=True)
    _step(
        '3/4  testing on scenes of digits that were never seen',
        [root / 'tools/test.py', config, checkpoint, '--work-dir', work_dir / 'test'],
        DIGITS=data,
    )
    print('\n== 4/4  pictures and plots', flush=True)
    measured = describe(
        data / 'annotations/instances_val.json',
        data / 'val',
        written,
        work_dir,
        title=f'RetinaNet, {LOSSES[options.loss]}, digits',
    )
    return measured | dict(
        loss=options.loss,
        config=str(config),
        checkpoint=str(checkpoint),
        log=str(max(work_dir.glob('*/*.log'), key=lambda path: path.stat().st_mtime)),
        minutes_of_training=round(training_seconds(work_dir) / 60, 1),
    )


def _config(options: DemoOptions, root: Path, results: Path) -> str:
    """A config of its own: paths may hold what a command line would take apart."""
    base = root / 'configs' / CONFIG.format(loss=LOSSES[options.loss])
    lines = [
        f'_base_ = {str(base)!r}',
        f'test_evaluator = dict(outfile_prefix={str(results)!r})',
    ]
    if options.epochs is not None:
        lines.append(f'train_cfg = dict(max_epochs={options.epochs})')
    return '\n'.join(lines) + '\n'


def describe(
    annotations: Path, images: Path, results: Path, out_dir: Path, title: str, pictures: int = 12
) -> dict:
    """Metrics, a page of detections beside ground truth, and plots, from one result file.

    Args:
        annotations: COCO ground truth.
        images: folder of its images.
        results: COCO detections.
        out_dir: gets ``detections.jpg``, ``score_thresholds.json`` (the LRP-optimal score of
            each class), ``precision_recall.png`` and ``training.png``; the latter is drawn from
            the training log that lies there.

    Returns:
        Metrics, None where there is no object to measure them on, and the paths of the pictures.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotations))
        # MMDetection writes no file where nothing was detected; the test itself did succeed.
        detections = json.loads(results.read_text()) if results.exists() else []
        found = truth.loadRes(detections) if detections else _nothing_found(truth)
        evaluated = COCOeval(truth, found, 'bbox')
        evaluated.evaluate()
        evaluated.accumulate()
        evaluated.summarize()
    # Ranking losses order the scores and do not calibrate them: no fixed score tells good
    # detections from bad ones, but the score that minimises LRP does.
    objects = load_ground_truth(annotations)
    lrp = olrp(objects, load_detections(detections, objects))
    thresholds = {name: t for name, t in lrp.thresholds().items() if t == t}
    thresholds_path = out_dir / 'score_thresholds.json'
    thresholds_path.write_text(json.dumps(thresholds, indent=1))
    page_path = out_dir / 'detections.jpg'
    drawn = detection_page(truth, found, images, thresholds, pictures)
    cv2.imwrite(str(page_path), drawn, [cv2.IMWRITE_JPEG_QUALITY, 88])
    return dict(
        AP=defined(evaluated.stats[0]),
        AP50=defined(evaluated.stats[1]),
        AP75=defined(evaluated.stats[2]),
        oLRP=defined(lrp.summary()['oLRP']),
        images=len(truth.imgs),
        thresholds=str(thresholds_path),
        pictures=str(page_path),
        precision_recall=str(
            plot_precision_recall(evaluated, out_dir / 'precision_recall.png', title)
        ),
        training_curve=str(plot_training(out_dir, out_dir / 'training.png', title)),
    )


def _nothing_found(truth: COCO) -> COCO:
    """What ``loadRes`` would give for an empty list, if it took one."""
    found = COCO()
    found.dataset = dict(images=truth.dataset['images'], categories=truth.dataset['categories'])
    found.dataset['annotations'] = []
    found.createIndex()
    return found


def detection_page(
    truth: COCO, found: COCO, images: Path, thresholds: dict[str, float], count: int
) -> np.ndarray:
    """The first images of a data set, two a row: ground truth left, detections right of it.

    A detection is blue where it finds an object of its class at IoU 0.5, orange otherwise.

    Args:
        thresholds: least score that is drawn, by class name; classes that are absent are not.
        count: how many images.
    """
    names = {category['id']: category['name'] for category in truth.cats.values()}
    cells = []
    for info in list(truth.imgs.values())[:count]:
        image = cv2.imread(str(images / info['file_name']))
        if image is None:
            raise UserError(f'{images / info["file_name"]} is no readable image')
        scale = 384 / max(image.shape[:2])
        objects = truth.imgToAnns[info['id']]
        left = draw_boxes(
            image,
            _corners(objects),
            [names[o['category_id']] for o in objects],
            GREEN,
            scale,
        )
        shown = sorted(found.imgToAnns[info['id']], key=lambda d: -d['score'])
        shown = [d for d in shown if d['score'] >= thresholds.get(names[d['category_id']], np.inf)]
        right = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        for hit, color in ((False, ORANGE), (True, BLUE)):
            chosen = [d for d, ok in zip(shown, _hits(shown, objects)) if ok == hit]
            texts = [f'{names[d["category_id"]]} {d["score"]:.2f}' for d in chosen]
            right = draw_boxes(right, _corners(chosen) * scale, texts, color)
        cells.append((_square(left, 384), _square(right, 384)))
    rows: list[tuple] = [sum(cells[i : i + 2], ()) for i in range(0, len(cells), 2)]
    blank = np.full_like(cells[0][0], 255)
    rows[-1] += (blank,) * (len(rows[0]) - len(rows[-1]))
    headers = ['ground truth', 'above the LRP-optimal score']
    return page(rows, headers * (len(rows[0]) // 2))


def as_text(summary: dict) -> str:
    """The summary as a person reads it."""
    lines = [
        '   '.join(f'{key} {shown(summary[key])}' for key in ('AP', 'AP50', 'AP75', 'oLRP')),
        f'on {summary["images"]} held-out images, after {summary["minutes_of_training"]} minutes',
        '',
    ]
    names = dict(
        pictures='detections beside ground truth',
        precision_recall='precision-recall plot',
        training_curve='training curve',
        thresholds='LRP-optimal score of each class',
        checkpoint='checkpoint',
        log='log',
        config='config',
    )
    lines += [f'{text:<32}{summary[key]}' for key, text in names.items()]
    run, other = Path(summary['config']).parent, 'ap' if summary['loss'] == 'focal' else 'focal'
    last = [
        f'Compare: the same with --loss {other}, then {tool_line("report", run, "OTHER_RUN")}',
        f'Train on your own photos: {tool_line("train_own", "FOLDER")}',
    ]
    lines += ['', 'What to do next', *(f'- {line}' for line in suggestions(summary, last=last))]
    return '\n'.join(lines) + '\n'


def defined(value: float) -> float | None:
    """Rounded; None for NaN and for the -1 of pycocotools, by which they mean that nothing is."""
    return round(float(value), 4) if value >= 0 else None


def shown(value: float | None) -> str:
    return '-' if value is None else f'{value:.3f}'


def _write_whole(path: Path, text: str) -> None:
    part = path.with_suffix('.part')
    part.write_text(text)
    part.replace(path)


def _step(title: str, command: list, **environment: object) -> None:
    print(f'\n== {title}', flush=True)
    variables = {name: str(value) for name, value in environment.items()}
    status = run_command([sys.executable, *map(str, command)], variables, show=False)
    if status:
        raise UserError(f'this step failed with status {status}; the lines above say why')


def _corners(objects: list[dict]) -> np.ndarray:
    boxes = np.array([o['bbox'] for o in objects], dtype=float).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def _hits(detections: list[dict], objects: list[dict]) -> list[bool]:
    """Greedily, by descending score: does each detection find an object of its own at IoU 0.5?"""
    from pycocotools.mask import iou

    if not detections or not objects:
        return [False] * len(detections)
    overlaps = iou(
        [d['bbox'] for d in detections], [o['bbox'] for o in objects], [0] * len(objects)
    )
    free = [True] * len(objects)
    hits = []
    for detection, row in zip(detections, overlaps):
        fits = [
            (value, index)
            for index, value in enumerate(row)
            if free[index]
            and value >= 0.5
            and objects[index]['category_id'] == detection['category_id']
        ]
        hits.append(bool(fits))
        if fits:
            free[max(fits)[1]] = False
    return hits


def _square(image: np.ndarray, side: int) -> np.ndarray:
    height, width = image.shape[:2]
    right, below = side - width, side - height
    return cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_CONSTANT, value=(255, 255, 255))
