"""Scenes of real handwritten digits in clutter, with a tight box for each digit.

The ink is scikit-learn's copy of the UCI set "Optical Recognition of Handwritten Digits": 1,797
scanned digits. Each scan is resampled by a random affine map, given a colour, and composed with
others into a cluttered scene. A scene depends on (seed, split, index) alone, so a longer data set
begins with the very scenes of a shorter one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from types import ModuleType

import numpy as np
from numpy.typing import ArrayLike

__all__ = ['CLASSES', 'METAINFO', 'make_scene', 'split_scans']

CLASSES = tuple('0123456789')
METAINFO = dict(
    classes=CLASSES,
    palette=[
        (230, 25, 75), (60, 180, 75), (255, 225, 25), (0, 130, 200), (245, 130, 48),
        (145, 30, 180), (70, 240, 240), (240, 50, 230), (210, 245, 60), (250, 190, 212),
    ],
)  # fmt: skip

SPLITS = ('train', 'val')

MIN_SIZE = 96  # of a scene, in pixels: room for fifteen digits
MIN_DIGITS, MAX_DIGITS = 3, 15
MIN_SIDE, MAX_SIDE = 10, 64
MIN_OVERLAPPED = 16  # side from which a digit may be put on another
MAX_IOU = 0.4
MIN_VISIBLE = 0.75  # share of a digit's ink that later digits must leave uncovered
INK = 0.4  # opacity from which a pixel counts as ink: the box is the tight hull of these

# What a careless detector takes for digits: letters and signs as strokes in the unit square.
GLYPHS: tuple[list[list[tuple[float, float]]], ...] = (
    [[(0, 1), (0.5, 0), (1, 1)], [(0.2, 0.65), (0.8, 0.65)]],  # A
    [[(1, 0), (0, 0), (0, 1), (1, 1)], [(0, 0.5), (0.8, 0.5)]],  # E
    [[(1, 0), (0, 0), (0, 1)], [(0, 0.5), (0.8, 0.5)]],  # F
    [[(0, 0), (0, 1)], [(1, 0), (1, 1)], [(0, 0.5), (1, 0.5)]],  # H
    [[(0, 0), (0, 1)], [(1, 0), (0, 0.55), (1, 1)]],  # K
    [[(0, 1), (0, 0), (0.5, 0.6), (1, 0), (1, 1)]],  # M
    [[(0, 1), (0, 0), (1, 1), (1, 0)]],  # N
    [[(0, 1), (0, 0), (0.9, 0.1), (0.9, 0.4), (0, 0.5), (1, 1)]],  # R
    [[(0, 0), (0.25, 1), (0.5, 0.4), (0.75, 1), (1, 0)]],  # W
    [[(0, 0), (1, 1)], [(1, 0), (0, 1)]],  # X
    [[(0.3, 0), (0.2, 1)], [(0.8, 0), (0.7, 1)], [(0, 0.35), (1, 0.3)], [(0, 0.7), (1, 0.65)]],  # #
    [[(0, 0.3), (1, 0.3)], [(0, 0.7), (1, 0.7)]],  # =
)


def require(module: str, package: str) -> ModuleType:
    """Import ``module`` or say which package brings it."""
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f'the digit scenes need {module} ({error}): pip install {package}'
        ) from error


@lru_cache(maxsize=1)
def _load_scans() -> tuple[np.ndarray, np.ndarray]:
    digits = require('sklearn.datasets', 'scikit-learn').load_digits()
    return digits.images / 16.0, digits.target.astype(int)


@lru_cache(maxsize=1)
def split_scans() -> dict[str, tuple[np.ndarray, ...]]:
    """Indices of the scans that each split may use, per class.

    A quarter of every class is kept for validation. The split is the same for every seed, so no
    validation scene of any data set shows a scan that any training scene shows.

    Returns:
        dict: ``split -> (indices of '0', ..., indices of '9')`` into ``sklearn``'s ``load_digits``.

    Example:
        >>> scans = split_scans()
        >>> sum(map(len, scans['train'])), sum(map(len, scans['val']))
        (1352, 445)
    """
    rng = np.random.default_rng(1797)
    labels = _load_scans()[1]
    train, val = [], []
    for label in range(len(CLASSES)):
        members = rng.permutation(np.flatnonzero(labels == label))
        held_out = len(members) // 4
        val.append(np.sort(members[:held_out]))
        train.append(np.sort(members[held_out:]))
    return {'train': tuple(train), 'val': tuple(val)}


# --- drawing -----------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _refinement() -> np.ndarray:
    """Cubic interpolation (a = -1/2) of 8 samples at -2, -2 + 1/8, ..., 9 7/8, as a matrix."""
    t = np.abs((np.arange(96) / 8.0 - 2.0)[:, None] - np.arange(8))
    near = (1.5 * t - 2.5) * t * t + 1.0
    far = ((-0.5 * t + 2.5) * t - 4.0) * t + 2.0
    return np.where(t < 1.0, near, np.where(t < 2.0, far, 0.0))


def _sample(scan: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Values of a scan between its pixels: refined cubically, then read bilinearly."""
    fine = (_refinement() @ scan @ _refinement().T).ravel()
    y, x = (np.clip(8.0 * v + 16.0, 0.0, 94.0) for v in (y, x))
    row, col = y.astype(int), x.astype(int)
    y, x, at = y - row, x - col, 96 * row + col
    top = fine[at] + x * (fine[at + 1] - fine[at])
    bottom = fine[at + 96] + x * (fine[at + 97] - fine[at + 96])
    return top + y * (bottom - top)


def _render_ink(rng: np.random.Generator, scan: np.ndarray, side: float) -> np.ndarray:
    """Opacity in [0, 1] of a scan under a random rotation, shear and stretch.

    The array is cropped to the ink, and its longest side is about ``side`` pixels.
    """
    angle, shear = rng.uniform(-0.21, 0.21), rng.uniform(-0.2, 0.2)
    stretch = rng.uniform(0.85, 1.2)
    softness, threshold = rng.uniform(0.2, 0.6), rng.uniform(0.4, 0.55)
    cos, sin = math.cos(angle), math.sin(angle)
    rows, cols = (np.flatnonzero(scan.max(axis=axis) > 0.3) for axis in (1, 0))
    scale = max(np.ptp(rows) + 1, stretch * (np.ptp(cols) + 1)) / side  # scan pixels per pixel

    reach = math.ceil(side * 0.72) + 1
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1] * scale
    y, x = cos * y - sin * x, (cos * x + sin * y + shear * y) / stretch
    value = _sample(scan, y + (rows[0] + rows[-1]) / 2, x + (cols[0] + cols[-1]) / 2)

    # The scans are grey; a soft threshold after interpolation gives them a pen's edge at any size.
    alpha = np.clip((value - threshold) / softness + 0.5, 0.0, 1.0)
    ink = alpha >= INK
    rows, cols = (np.flatnonzero(ink.any(axis)) for axis in (1, 0))
    return alpha[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]


def _smooth_field(rng: np.random.Generator, size: int, cells: int, channels: int = 3) -> np.ndarray:
    """A (channels, size, size) field in [-1, 1]: coarse random values, blended smoothly."""
    position = np.arange(size) * (cells / size)
    t = np.clip(1.0 - np.abs(position[:, None] - np.arange(cells + 1)), 0.0, 1.0)
    blend = t * t * (3.0 - 2.0 * t)
    return blend @ rng.uniform(-1.0, 1.0, (channels, cells + 1, cells + 1)) @ blend.T


def _background(rng: np.random.Generator, size: int) -> np.ndarray:
    """A (3, size, size) ground of uneven light, blotches and grain."""
    image = rng.uniform(5.0, 40.0) * _smooth_field(rng, size, 1)
    image += rng.uniform(60.0, 200.0) + rng.uniform(-35.0, 35.0, (3, 1, 1))
    image += rng.uniform(3.0, 18.0) * _smooth_field(rng, size, int(rng.integers(3, 7)))
    grain = int(rng.integers(size // 16, size // 5))
    image += rng.uniform(2.0, 8.0) * _smooth_field(rng, size, grain, channels=1)
    return np.clip(image, 15.0, 240.0, out=image)


def _paint(rng: np.random.Generator, image: np.ndarray, alpha: np.ndarray, contrast: float) -> None:
    """Blend ink into ``image`` (a view), ``contrast`` grey levels off what it covers."""
    rows, cols = (np.flatnonzero(alpha.any(axis)) for axis in (1, 0))
    if not len(rows):
        return
    window = slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1)
    image, alpha = image[:, window[0], window[1]], alpha[window]
    ground = (image * alpha).sum((1, 2)) / alpha.sum()
    tint = 1.0 + rng.uniform(-0.6, 0.6, 3)
    offset = contrast * tint / tint.mean()
    darker = rng.random() < 0.5
    if ground.mean() - contrast < 10.0:
        darker = False
    elif ground.mean() + contrast > 245.0:
        darker = True
    colour = np.clip(ground - offset if darker else ground + offset, 0.0, 255.0)
    image += alpha * (colour[:, None, None] - image)


def _draw_strokes(size: int, strokes: Sequence[ArrayLike], thickness: int) -> np.ndarray:
    """Opacity of polylines, antialiased; points are (x, y) in pixels."""
    import cv2

    mask = np.zeros((size, size), np.uint8)
    points = [np.round(np.asarray(stroke) * 16).astype(np.int32) for stroke in strokes]
    cv2.polylines(mask, points, False, 255, thickness, cv2.LINE_AA, shift=4)
    return mask / 255.0


def _draw_clutter(rng: np.random.Generator, image: np.ndarray) -> None:
    """Add one thing that is no digit: a blob, a line, an arc, a scribble or a letter."""
    size = image.shape[-1]
    centre = rng.uniform(0, size, 2)
    extent = MIN_SIDE * (min(MAX_SIDE, size // 2) / MIN_SIDE) ** rng.random()
    kind = rng.choice(['blob', 'line', 'arc', 'scribble', 'letter'], p=[0.2, 0.2, 0.15, 0.15, 0.3])
    if kind == 'blob':
        y, x = np.ogrid[:size, :size]
        y, x = y - centre[0], x - centre[1]
        a, b = extent * rng.uniform(0.2, 1.2, 2)
        angle, soft = rng.uniform(0, math.pi), rng.uniform(0.1, 0.8)
        u, v = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
        alpha = np.clip((1.0 - np.hypot(u / a, v / b)) / soft, 0.0, 1.0)
        _paint(rng, image, alpha, rng.uniform(10.0, 60.0))
        return
    if kind == 'line':  # kept off the vertical, where a short one would be a 1
        angle = rng.uniform(-0.9, 0.9)
        half = extent * rng.uniform(0.7, 2.0) * np.array([math.cos(angle), math.sin(angle)])
        strokes = [[centre - half, centre + half]]
    elif kind == 'arc':  # at most 200 degrees: a closed one would be a 0
        start, span = rng.uniform(0, 2 * math.pi), rng.uniform(1.2, 3.5)
        t = start + span * np.linspace(0, 1, 24)
        radii = extent * rng.uniform(0.4, 1.0, 2)
        strokes = [centre + radii * np.stack([np.cos(t), np.sin(t)], 1)]
    elif kind == 'scribble':  # a zigzag with more turns than any digit has
        turns = int(rng.integers(5, 9))
        along, across = np.linspace(-1, 1, turns), np.where(np.arange(turns) % 2, 0.5, -0.5)
        zigzag = np.stack([along, across * rng.uniform(0.3, 1.0)], 1)
        angle = rng.uniform(0, math.pi)
        turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
        strokes = [centre + (zigzag + rng.normal(0, 0.08, zigzag.shape)) @ turn * extent * 0.7]
    else:
        glyph = GLYPHS[int(rng.integers(len(GLYPHS)))]
        box = extent * np.array([rng.uniform(0.5, 0.9), 1.0])
        strokes = [
            centre + (np.array(s) - 0.5 + rng.normal(0, 0.03, (len(s), 2))) * box for s in glyph
        ]
    thickness = max(1, round(extent * rng.uniform(0.06, 0.16)))
    _paint(rng, image, _draw_strokes(size, strokes, thickness), rng.uniform(30.0, 130.0))


# --- placing -----------------------------------------------------------------------------------


def _iou(a: Sequence[float], b: Sequence[float]) -> float:
    """IoU of two (x, y, w, h) boxes."""
    w = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    h = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    return w * h / (a[2] * a[3] + b[2] * b[3] - w * h)


class _Layout:
    """Boxes placed so far, and which digit's ink is on top at each pixel."""

    def __init__(self, size: int) -> None:
        self.boxes: list[tuple[int, int, int, int]] = []
        self.owner = np.full((size, size), -1)
        self.ink: list[int] = []

    def place(self, rng: np.random.Generator, ink: np.ndarray, partner: int | None) -> bool:
        """Find a place for ``ink``: over ``partner`` if given, else clear of the others."""
        size, (h, w) = len(self.owner), ink.shape
        if h > size - 2 or w > size - 2:
            return False
        for _ in range(40):
            x, y = rng.integers(1, size - w), rng.integers(1, size - h)
            if partner is not None:
                px, py, pw, ph = self.boxes[partner]
                x, y = rng.integers(px - w, px + pw), rng.integers(py - h, py + ph)
            box = (int(x), int(y), w, h)
            if not (0 < x < size - w and 0 < y < size - h) or not self._fits(box, ink, partner):
                continue
            self.owner[y : y + h, x : x + w][ink] = len(self.boxes)
            self.boxes.append(box)
            self.ink.append(int(ink.sum()))
            return True
        return False

    def _fits(self, box: tuple[int, int, int, int], ink: np.ndarray, partner: int | None) -> bool:
        for index, other in enumerate(self.boxes):
            low, high = (0.1, MAX_IOU) if index == partner else (0.0, 0.05)
            if not low <= _iou(box, other) <= high:
                return False
        x, y, w, h = box
        covered = self.owner[y : y + h, x : x + w][ink]
        for index in np.unique(covered[covered >= 0]):
            left = (self.owner == index).sum() - (covered == index).sum()
            if left < MIN_VISIBLE * self.ink[index]:
                return False
        return True


def make_scene(
    index: int, *, split: str = 'train', size: int = 160, seed: int = 0
) -> tuple[np.ndarray, list[dict]]:
    """Render one scene.

    Args:
        index: Number of the scene in its split.
        split: 'train' or 'val'.
        size: Height and width in pixels, at least 96.
        seed: Seed of the data set, not negative.

    Returns:
        tuple: The image, uint8 RGB of shape (size, size, 3), and one dict per digit: ``label``
        (0 to 9), ``bbox`` (x, y, w, h) tight around the ink, ``scan`` (index in ``load_digits``).

    Raises:
        ValueError: If ``split`` is unknown or ``size`` too small.

    Example:
        >>> image, digits = make_scene(0)
        >>> image.shape, 3 <= len(digits) <= 15
        ((160, 160, 3), True)
    """
    if split not in SPLITS:
        raise ValueError(f'split must be one of {SPLITS}, got {split!r}')
    if size < MIN_SIZE:
        raise ValueError(f'size must be at least {MIN_SIZE}, got {size}')
    require('cv2', 'opencv-python-headless')
    rng = np.random.default_rng((seed, SPLITS.index(split), index))
    image = _background(rng, size)
    for _ in range(rng.integers(3, 9)):
        _draw_clutter(rng, image)

    scans = _load_scans()[0]
    layout = _Layout(size)
    digits: list[dict] = []
    largest = min(MAX_SIDE, size // 2)
    wanted = int(rng.integers(MIN_DIGITS, MAX_DIGITS + 1))
    while len(digits) < wanted:
        label = int(rng.integers(len(CLASSES)))
        scan = int(rng.choice(split_scans()[split][label]))
        side = MIN_SIDE * (largest / MIN_SIDE) ** rng.random()
        partner = None
        if digits and rng.random() < 0.25:
            partner = int(rng.integers(len(digits)))
            side = max(layout.boxes[partner][2:]) * rng.uniform(0.7, 1.3)
            if side < MIN_OVERLAPPED:  # two tiny digits in one place are legible to nobody
                continue
        alpha = _render_ink(rng, scans[scan], float(np.clip(side, MIN_SIDE, largest)))
        if not MIN_SIDE <= max(alpha.shape) <= largest:
            continue
        if not layout.place(rng, alpha >= INK, partner):
            continue
        x, y, w, h = layout.boxes[-1]
        # A fifth is faint. Small ink keeps a little more contrast: it has fewer pixels to tell by.
        faint = rng.random() < 0.2
        contrast = rng.uniform(36.0, 60.0) if faint else rng.uniform(60.0, 150.0)
        _paint(rng, image[:, y : y + h, x : x + w], alpha, contrast + 12.0 * (max(w, h) < 18))
        digits.append(dict(label=label, bbox=[x, y, w, h], scan=scan))

    strength = rng.uniform(2.0, 11.0)
    noise = rng.standard_normal(image.shape)
    noise *= strength
    image += noise
    pixels = np.clip(np.rint(image, out=image), 0, 255, out=image).astype(np.uint8)
    return np.ascontiguousarray(pixels.transpose(1, 2, 0)), digits
