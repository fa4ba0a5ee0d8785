"""The best and the worst images of a run as figures of the page."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from rankdet.analysis.figures.runs import Run, image_folder
from rankdet.analysis.pictures import BLUE, GREEN, ORANGE, draw_boxes
from rankdet.analysis.report.image_errors import ImageErrors
from rankdet.analysis.report.page import pair
from rankdet.engine.errors import UserError
from rankdet.evaluation import Matching

SIDE = 288  # pixels of each picture: larger ones shrink on the page, and the labels with them


def draw_image(run: Run, matching: Matching, errors: ImageErrors, image: int) -> str:
    """Ground truth, then the detections, and what is right and wrong in words."""
    gt = matching.gt
    path = image_folder(run.config) / gt.file_names[image]
    pixels = cv2.imread(str(path))
    if pixels is None:
        raise UserError(f'{path} is no readable image')
    scale = SIDE / max(pixels.shape[:2])
    own = np.flatnonzero(gt.image == image)
    texts = [gt.class_names[label] for label in gt.label[own]]
    left = draw_boxes(pixels, _corners(gt.boxes[own]), texts, GREEN, scale)
    right = draw_boxes(pixels, np.zeros((0, 4)), [], scale=scale)
    for hit, color in ((False, ORANGE), (True, BLUE)):
        dt = matching.dt
        chosen = np.flatnonzero((dt.image == image) & errors.shown & (errors.hit == hit))
        texts = [f'{gt.class_names[dt.label[i]]} {dt.scores[i]:.2f}' for i in chosen]
        right = draw_boxes(right, _corners(dt.boxes[chosen]) * scale, texts, color)
    found = f'{errors.tp[image]} found, {errors.fn[image]} missed, {errors.fp[image]} wrong'
    caption = f'{gt.file_names[image]}: LRP {errors.lrp[image]:.3f}; {found}'
    return pair(
        [_jpeg(left, path), _jpeg(right, path)],
        [f'{gt.file_names[image]}: ground truth', f'{gt.file_names[image]}: {found}'],
        caption,
    )


def _jpeg(pixels: np.ndarray, path: Path) -> bytes:
    ok, content = cv2.imencode('.jpg', pixels, [cv2.IMWRITE_JPEG_QUALITY, 85])
    if not ok:
        raise UserError(f'{path} cannot be written as JPEG')
    return content.tobytes()


def _corners(boxes: np.ndarray) -> np.ndarray:
    return np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]])
