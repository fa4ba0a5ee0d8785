"""A checkpoint's detections on pictures of any user."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import torch
from mmdet.apis import inference_detector, init_detector

from rankdet.analysis.pictures import BLUE, draw_boxes
from rankdet.datasets.voc import Unusable, decode_size
from rankdet.engine.errors import UserError
from rankdet.engine.launch import load_config, model_config
from rankdet.engine.preflight import check_checkpoint, dataset_classes, leaf_datasets
from rankdet.engine.weights_only import only_weights
from rankdet.evaluation.progress import Progress, silent

SUFFIXES = ('.jpg', '.jpeg', '.jfif', '.png', '.bmp', '.tif', '.tiff', '.webp')


def find_images(paths: list[str]) -> list[Path]:
    """Image files among and directly inside ``paths``, in order.

    Raises:
        UserError: a path does not exist, or a folder holds no image.
    """
    images = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
            if not inside:
                raise UserError(f'folder {path} holds no image ({", ".join(SUFFIXES)})')
            images += inside
        elif path.is_file():
            images.append(path)
        else:
            raise UserError(f'image {path} does not exist')
    return images


def detect_images(
    paths: list[str],
    config: str,
    checkpoint: str,
    out_dir: str | Path,
    *,
    score: float | dict[str, float] = 0.3,
    device: str | None = None,
    progress: Progress = silent,
) -> list[Path]:
    """Detect, draw and write down.

    Args:
        paths: image files or folders of images.
        config, checkpoint: a trained detector.
        out_dir: gets one PNG a picture, and ``detections.json``: a list of dicts with ``image``,
            and ``boxes`` of ``bbox`` (x1, y1, x2, y2 in pixels), ``score`` and ``class``.
        score: detections below it are left out; one number, or one a class (a class that is
            absent is left out). Ranking losses do not calibrate scores: the LRP-optimal ones, as
            the demo leaves them in ``score_thresholds.json``, suit them better than a number.
        device: torch device; None takes a GPU if there is one.
        progress: called as ``progress(stage, done, total)``.

    Returns:
        The pictures written.

    Raises:
        UserError: an input is missing, unreadable, would be overwritten or does not fit the
            others. Every image is read before anything is written.

    However it ends, ``detections.json`` holds the pictures that are done.
    """
    images = find_images(paths)
    targets = _targets(images, Path(out_dir))
    for file, text in ((config, 'config'), (checkpoint, 'checkpoint')):
        if not Path(file).is_file():
            raise UserError(f'{text} {file} does not exist')
    unreadable = []
    for number, path in enumerate(images):
        progress('reading images', number, len(images))
        if reason := _why_unreadable(path):
            unreadable.append(f'{path} ({reason})')
    if unreadable:
        raise UserError(f'no readable image: {", ".join(unreadable)}')
    cfg = load_config(config)
    missing = [key for key in ('model', 'test_dataloader') if not cfg.get(key)]
    if missing:
        raise UserError(f'config {config} has no {missing[0]}; start from one in configs/')
    cfg.model = model_config(cfg)
    model = init_detector(cfg, device=device or _device())
    classes = dataset_classes(next(leaf_datasets(cfg.test_dataloader.dataset)))
    check_checkpoint(model, checkpoint, classes)
    with only_weights():
        model = init_detector(cfg, checkpoint, device=device or _device())
    names = classes or model.dataset_meta['classes']

    least = [score.get(name, math.inf) if isinstance(score, dict) else score for name in names]

    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    with _written_at_the_end(out_dir / 'detections.json', len(images)) as records:
        for number, (path, target) in enumerate(zip(images, targets)):
            progress('detecting', number, len(images))
            image = cv2.imread(str(path))
            assert image is not None  # it was read before
            found = inference_detector(model, image).pred_instances.cpu()
            found = found[found.scores >= torch.tensor(least)[found.labels]]
            boxes, scores = found.bboxes.numpy(), found.scores.tolist()
            labels = [names[label] for label in found.labels.tolist()]
            texts = [f'{label} {value:.2f}' for label, value in zip(labels, scores)]
            scale = max(1.0, 640 / max(image.shape[:2]))
            cv2.imwrite(str(target), draw_boxes(image, boxes, texts, BLUE, scale))
            records.append(
                dict(
                    image=str(path),
                    boxes=[
                        {
                            'bbox': [round(v, 2) for v in box],
                            'score': round(value, 4),
                            'class': label,
                        }
                        for box, value, label in zip(boxes.tolist(), scores, labels)
                    ],
                )
            )
    return targets


@contextmanager
def _written_at_the_end(path: Path, total: int) -> Iterator[list[dict]]:
    """A list that is written to ``path`` even if its making is broken off, which says so."""
    records: list[dict] = []
    try:
        yield records
    except BaseException as error:
        stop: Any = error
        stop.remedy = f'{path} holds {len(records)} of {total} pictures'
        raise
    finally:
        path.write_text(json.dumps(records, indent=1))


def _targets(images: list[Path], out_dir: Path) -> list[Path]:
    """A file of its own for each image, even where folders or suffixes alone tell them apart."""
    targets: list[Path] = []
    for path in images:
        stems = [path.stem, f'{path.parent.name}_{path.stem}']
        names = itertools.chain(stems, (f'{stems[1]}_{n}' for n in itertools.count(2)))
        targets.append(next(t for n in names if (t := out_dir / f'{n}.png') not in targets))
    spoilt = {path.resolve() for path in images} & {path.resolve() for path in targets}
    if spoilt:
        raise UserError(f'--out-dir {out_dir} would overwrite {min(spoilt)}; name another folder')
    return targets


def _why_unreadable(path: Path) -> str:
    """Empty for an image that decodes to its last byte."""
    try:
        decode_size(path)
    except (OSError, ValueError, Unusable) as error:
        return str(error)
    return ''


def _device() -> str:
    return 'cuda:0' if torch.cuda.is_available() else 'cpu'
