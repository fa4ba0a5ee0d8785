"""Boxes drawn on images, and many images on one page."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

# Okabe and Ito's palette (as BGR), told apart under all common kinds of colour blindness.
GREEN, ORANGE, BLUE, RED = (115, 158, 0), (0, 159, 230), (178, 114, 0), (0, 94, 213)


def draw_boxes(
    image: np.ndarray,
    boxes: np.ndarray,
    texts: Sequence[str],
    color: tuple[int, int, int] = GREEN,
    scale: float = 1.0,
) -> np.ndarray:
    """A copy of an image with labelled boxes on it.

    Args:
        image: ``(H, W, 3)`` uint8, BGR.
        boxes: ``(n, 4)`` corners x1, y1, x2, y2 in pixels.
        texts: one label a box; '' for none.
        color: BGR.
        scale: enlarges the image first, so that labels on small images are readable.

    Returns:
        uint8 image, ``scale`` times as large.
    """
    if scale != 1.0:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    canvas = np.ascontiguousarray(image).copy()
    height, width = canvas.shape[:2]
    size = max(0.35, min(height, width) / 1200)
    for box, text in zip(np.asarray(boxes, dtype=float).reshape(-1, 4), texts, strict=True):
        x1, y1, x2, y2 = (round(value * scale) for value in box)
        cv2.rectangle(canvas, (x1, y1), (x2, y2), color, max(1, round(size * 2)), cv2.LINE_AA)
        if not text:
            continue
        (w, h), base = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
        left = min(max(x1, 0), max(width - w - 2, 0))
        top = y1 - h - base - 1
        if top < 0:  # no room above: put it under the box
            top = min(y2 + 1, height - h - base)
        cv2.rectangle(canvas, (left, top), (left + w + 2, top + h + base), color, -1)
        at = (left + 1, top + h + base // 2)
        cv2.putText(
            canvas, text, at, cv2.FONT_HERSHEY_SIMPLEX, size, (255, 255, 255), 1, cv2.LINE_AA
        )
    return canvas


def page(rows: Sequence[Sequence[np.ndarray]], headers: Sequence[str], gap: int = 8) -> np.ndarray:
    """Images of one size in a grid with a header over each column.

    Args:
        rows: images ``(H, W, 3)`` uint8, the same shape everywhere.
        headers: one text a column.
    """
    height, width = rows[0][0].shape[:2]
    columns = len(headers)
    size = (34 + len(rows) * (height + gap), gap + columns * (width + gap))
    sheet = np.full((*size, 3), 255, np.uint8)
    for column, header in enumerate(headers):
        at = (gap + column * (width + gap), 24)
        cv2.putText(sheet, header, at, cv2.FONT_HERSHEY_SIMPLEX, 0.6, (0, 0, 0), 1, cv2.LINE_AA)
    for r, row in enumerate(rows):
        for c, image in enumerate(row):
            y, x = 34 + r * (height + gap), gap + c * (width + gap)
            sheet[y : y + height, x : x + width] = image
    return sheet
