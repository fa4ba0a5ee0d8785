"""The best and the worst images of a run as figures of the page."""

from __future__ import annotations

import cv2
import numpy as np

from rankdet.analysis.figures.runs import Run, image_folder
from rankdet.analysis.pictures import BLUE, GREEN, ORANGE, draw_boxes
from rankdet.analysis.report.image_errors import ImageErrors
from rankdet.analysis.report.page import picture
from rankdet.engine.errors import UserError
from rankdet.evaluation import Matching

SIDE = 352  # pixels of each half


def draw_image(run: Run, matching: Matching, errors: ImageErrors, image: int) -> str:
    """Ground truth left, detections right, and what is right and wrong in words."""
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
    gap = np.full((left.shape[0], 6, 3), 255, np.uint8)
    ok, content = cv2.imencode(
        '.jpg', np.hstack([left, gap, right]), [cv2.IMWRITE_JPEG_QUALITY, 82]
    )
    if not ok:
        raise UserError(f'{path} cannot be written as JPEG')
    found = f'{errors.tp[image]} found, {errors.fn[image]} missed, {errors.fp[image]} wrong'
    caption = f'{gt.file_names[image]}: LRP {errors.lrp[image]:.3f}; {found}'
    return picture(content.tobytes(), 'jpeg', f'{gt.file_names[image]}, {found}', caption)


def _corners(boxes: np.ndarray) -> np.ndarray:
    return np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]])
