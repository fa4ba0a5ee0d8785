"""Boxes drawn on images, and many images on one page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from rankdet.untrusted import visible

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
        ink = _ink(text, size)
        h, w = ink.shape
        left = min(max(x1, 0), max(width - w - 2, 0))
        top = y1 - h - 1
        if top < 0:  # no room above: put it under the box
            top = min(y2 + 1, height - h)
        cv2.rectangle(canvas, (left, top), (left + w + 2, top + h), color, -1)
        _print(canvas, ink, left + 1, top, (255, 255, 255))
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
        _print(sheet, _ink(header, 0.6), gap + column * (width + gap), 8, (0, 0, 0))
    for r, row in enumerate(rows):
        for c, image in enumerate(row):
            y, x = 34 + r * (height + gap), gap + c * (width + gap)
            sheet[y : y + height, x : x + width] = image
    return sheet


@lru_cache
def _font(pixels: int) -> ImageFont.FreeTypeFont:
    """Matplotlib's own, which has Latin, Cyrillic and Greek letters; OpenCV's has only ASCII."""
    from matplotlib import get_data_path

    path = Path(get_data_path(), 'fonts/ttf/DejaVuSans.ttf')
    return ImageFont.truetype(str(path), pixels, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(1024)
def _ink(text: str, size: float) -> np.ndarray:
    """How much of each pixel a line of text covers, ``(h, w)`` in [0, 1].

    Args:
        size: as OpenCV scales its letters, of which the capitals have 22 pixels at 1.0.
    """
    text, font = visible(text), _font(round(31 * size))
    mask = Image.new('L', (math.ceil(font.getlength(text)), sum(font.getmetrics())))
    ImageDraw.Draw(mask).text((0, 0), text, 255, font)
    return np.asarray(mask, np.float32) / 255


def _print(
    canvas: np.ndarray, ink: np.ndarray, left: int, top: int, color: tuple[int, int, int]
) -> None:
    """Put text where there is room for it; what lies beyond the edges is left out."""
    ink = ink[max(-top, 0) :, max(-left, 0) :, None]
    there = canvas[max(top, 0) :, max(left, 0) :][: len(ink), : ink.shape[1]]
    ink = ink[: len(there), : there.shape[1]]
    there[:] = np.rint(there + ink * (np.array(color, np.float32) - there))
