"""Perturbed test images: patches on the objects, noise.

The test-time transforms of Table 3 of Chen et al. (AP-loss, TPAMI). In a pipeline each stands right
after the image is loaded, and finds the boxes of the objects itself::

    test_pipeline = [dict(type='LoadImageFromFile'), dict(type='BlackPatch'), ...]

What is random is a function of (seed, transform, image id) alone: any number of workers and
processes, any order and any part of the images give the same pixels.

Where the paper is silent or may be read in two ways:

- "The patch is of half width or half height" of the box: half the width and half the height
  (``extent='both'``). Of half the width and all of the height, the other way round, or one of
  these at random for each object are ``extent='width'``, ``'height'`` and ``'either'``.
- All objects of an image get a patch, in the order of the annotations; crowds and difficult
  objects, which are not measured, get none. What a patch shows is taken from the image as it was.
- "Normalized image", to which noise is added, is the image on a scale from 0 to 1. After
  subtraction of a mean, at a deviation of 1 or of 58 grey levels, noise of variance 0.01 would be
  less than 6 grey levels and hardly seen.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from torch import Tensor
from torch.nn.functional import grid_sample

__all__ = [
    'AdversarialPatch',
    'BlackPatch',
    'FlipPatch',
    'GaussianNoise',
    'RandomPatch',
    'centre_patch',
    'paste_disc',
]

#: Share of a box's width and height that a patch has, by ``extent``.
EXTENTS = {'both': (0.5, 0.5), 'width': (0.5, 1.0), 'height': (1.0, 0.5)}


def image_rng(seed: int, purpose: str, image_id: object) -> np.random.Generator:
    """The random numbers of an image, the same in every process.

    >>> image_rng(0, 'noise', 7).random() == image_rng(0, 'noise', 7).random()
    True
    """
    words = hashlib.sha256(f'{purpose}\0{image_id}'.encode()).digest()
    return np.random.default_rng([seed, *np.frombuffer(words, '<u4').tolist()])


def patch_size(box: Sequence[float], extent: str, rng: np.random.Generator) -> tuple[float, float]:
    """Width and height of the patch of a box ``x1, y1, x2, y2``."""
    if extent == 'either':
        extent = ('width', 'height')[rng.integers(2)]
    across, down = EXTENTS[extent]
    return across * (box[2] - box[0]), down * (box[3] - box[1])


def centre_patch(
    box: Sequence[float], size: tuple[float, float], shape: Sequence[int]
) -> tuple[int, int, int, int]:
    """The pixels of a patch at the centre of a box.

    Args:
        box: corners x1, y1, x2, y2, distances from the image's corner.
        size: width and height; rounded (halves up) to whole pixels, one at least.
        shape: height and width of the image, which cuts the patch off.

    Returns:
        x1, y1, x2, y2: the pixels x1 to x2 - 1 and y1 to y2 - 1; none where the box lies outside.

    >>> centre_patch((10, 20, 30, 60), (10, 20), (100, 100))
    (15, 30, 25, 50)
    """
    spans = []
    for low, high, length, limit in zip(box[:2], box[2:], size, shape[1::-1]):
        pixels = max(1, int(np.floor(length + 0.5)))
        start = int(np.floor((low + high - pixels) / 2 + 0.5))
        spans.append((min(max(start, 0), limit), min(max(start + pixels, 0), limit)))
    (x1, x2), (y1, y2) = spans
    return x1, y1, x2, y2


class _Perturbation(BaseTransform):
    """Changes ``img`` by random numbers of its own.

    Args:
        seed: not negative.
    """

    def __init__(self, seed: int = 0) -> None:
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise ValueError(f'seed must be an integer of at least 0, got {seed!r}')
        self.seed = seed

    def transform(self, results: dict) -> dict:
        """Perturb ``results['img']``, which must be as it was loaded."""
        name = type(self).__name__
        image, loaded = results['img'], results.get('ori_shape')
        if loaded is None or image.shape[:2] != tuple(loaded[:2]) or results.get('flip'):
            raise ValueError(
                f'{name} must stand right after the transform that loads the image: it finds the '
                f'objects on images of shape {loaded}, got {image.shape[:2]}'
            )
        if 'img_id' not in results:
            raise ValueError(f"{name} draws its random numbers by 'img_id', which this data lacks")
        rng = image_rng(self.seed, name, results['img_id'])
        results['img'] = self.perturb(image, results, rng)
        return results

    def perturb(self, image: np.ndarray, results: dict, rng: np.random.Generator) -> np.ndarray:
        """The perturbed image ``(H, W, 3)``, of the same type; ``image`` stays as it is."""
        raise NotImplementedError


class _ObjectPatch(_Perturbation):
    """A patch of half an object's size at its centre.

    Args:
        extent: what is halved: 'both' width and height, 'width', 'height', or 'either' of them,
            drawn for each object.
        seed: not negative.
    """

    def __init__(self, extent: str = 'both', seed: int = 0) -> None:
        super().__init__(seed)
        allowed = (*EXTENTS, 'either')
        if extent not in allowed:
            raise ValueError(f'extent must be one of {allowed}, got {extent!r}')
        self.extent = extent

    def boxes(self, results: dict) -> np.ndarray:
        """Corners ``(n, 4)`` of the objects that are measured."""
        if 'instances' not in results:
            raise ValueError(f"{type(self).__name__} needs 'instances': the data set has no boxes")
        found = [one['bbox'] for one in results['instances'] if not one.get('ignore_flag')]
        return np.array(found, np.float64).reshape(-1, 4)


class _CentrePatch(_ObjectPatch):
    """Whole pixels at the centre of each object."""

    def perturb(self, image: np.ndarray, results: dict, rng: np.random.Generator) -> np.ndarray:
        out = image.copy()
        for box in self.boxes(results):
            size = patch_size(box, self.extent, rng)
            x1, y1, x2, y2 = patch = centre_patch(box, size, image.shape)
            if x1 < x2 and y1 < y2:
                out[y1:y2, x1:x2] = self.content(image, box, patch, rng)
        return out

    def content(
        self,
        image: np.ndarray,
        box: np.ndarray,
        patch: tuple[int, int, int, int],
        rng: np.random.Generator,
    ) -> np.ndarray | int:
        """What the pixels of ``patch`` become."""
        raise NotImplementedError


@TRANSFORMS.register_module()
class BlackPatch(_CentrePatch):
    """Pixels of zero at the centre of each object.

    Args:
        extent, seed: see :class:`RandomPatch`; the seed matters only for ``extent='either'``.
    """

    def content(
        self,
        image: np.ndarray,
        box: np.ndarray,
        patch: tuple[int, int, int, int],
        rng: np.random.Generator,
    ) -> int:
        return 0


@TRANSFORMS.register_module()
class FlipPatch(_CentrePatch):
    """The centre of each object flipped left to right, top to bottom or both, at random.

    Args:
        extent, seed: see :class:`RandomPatch`.
    """

    def content(
        self,
        image: np.ndarray,
        box: np.ndarray,
        patch: tuple[int, int, int, int],
        rng: np.random.Generator,
    ) -> np.ndarray:
        x1, y1, x2, y2 = patch
        return np.flip(image[y1:y2, x1:x2], ((1,), (0,), (0, 1))[rng.integers(3)])


@TRANSFORMS.register_module()
class RandomPatch(_CentrePatch):
    """A piece of the image from outside the object's box, over its centre.

    Every place at which the piece does not touch the box is equally likely. Where there is none,
    as for a box that nearly fills the image, it is one of those that touch it least.

    Args:
        extent: what is halved: 'both' width and height, 'width', 'height', or 'either' of them,
            drawn for each object.
        seed: not negative.
    """

    def content(
        self,
        image: np.ndarray,
        box: np.ndarray,
        patch: tuple[int, int, int, int],
        rng: np.random.Generator,
    ) -> np.ndarray:
        x1, y1, x2, y2 = patch
        height, width = y2 - y1, x2 - x1
        across = _overlaps(width, image.shape[1], box[0], box[2])
        down = _overlaps(height, image.shape[0], box[1], box[3])
        shared = np.outer(down, across)
        places = np.flatnonzero(shared == shared.min())
        y, x = divmod(int(places[rng.integers(len(places))]), len(across))
        return image[y : y + height, x : x + width]


def _overlaps(length: int, limit: int, low: float, high: float) -> np.ndarray:
    """How much of low to high a span shares that starts at 0, 1 ... limit - length."""
    starts = np.arange(limit - length + 1)
    return np.maximum(np.minimum(starts + length, high) - np.maximum(starts, low), 0)


@TRANSFORMS.register_module()
class AdversarialPatch(_ObjectPatch):
    """A picture made to blind a detector, on a disc at the centre of each object.

    See :mod:`rankdet.analysis.robustness.adversarial_patch` for how it is made (Brown et al.,
    Adversarial Patch, 2017). It is stretched to ``extent`` and turned by a random angle.

    Args:
        patch: image file, or ``(S, S, 3)`` array with the channels that the pipeline loads.
        rotation: greatest angle in degrees, either way, in [0, 180].
        extent, seed: see :class:`RandomPatch`.
    """

    def __init__(
        self,
        patch: str | os.PathLike | np.ndarray,
        rotation: float = 22.5,
        extent: str = 'both',
        seed: int = 0,
    ) -> None:
        super().__init__(extent, seed)
        if not 0 <= rotation <= 180:
            raise ValueError(f'rotation must be in [0, 180] degrees, got {rotation!r}')
        pixels = patch if isinstance(patch, np.ndarray) else cv2.imread(os.fspath(patch))
        if pixels is None or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise ValueError(f'patch must be an image of three channels, got {patch}')
        self.patch = torch.from_numpy(np.float32(pixels)).permute(2, 0, 1).contiguous()
        self.rotation = rotation

    def perturb(self, image: np.ndarray, results: dict, rng: np.random.Generator) -> np.ndarray:
        out = torch.from_numpy(np.float32(image)).permute(2, 0, 1)
        for box in self.boxes(results):
            size = patch_size(box, self.extent, rng)
            angle = math.radians(rng.uniform(-self.rotation, self.rotation))
            centre = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
            out = paste_disc(out, self.patch, centre, size, angle)
        return _as_type_of(image, out.permute(1, 2, 0).numpy())


def paste_disc(
    image: Tensor,
    patch: Tensor,
    centre: tuple[float, float],
    size: tuple[float, float],
    angle: float,
) -> Tensor:
    """Put the disc inside a square picture onto an image, turned and stretched.

    A pixel with centre (x, y) shows the patch at R (2 (x - cx) / w, 2 (y - cy) / h), where R
    turns by ``-angle`` and the patch reaches from -1 to 1, if that lies in the unit disc.
    Differentiable in ``image`` and ``patch``.

    Args:
        image: ``(C, H, W)``.
        patch: ``(C, S, S)``, read between its pixels by bilinear interpolation.
        centre: cx, cy, distances from the image's corner.
        size: w and h of the rectangle that the disc is stretched to fill; each 1 at least.
        angle: in radians, from the x axis to the y axis.

    Returns:
        ``(C, H, W)``, a new tensor.
    """
    (cx, cy), (w, h) = centre, (max(float(length), 1.0) for length in size)
    x1, y1 = max(0, int(np.floor(cx - w / 2))), max(0, int(np.floor(cy - h / 2)))
    x2 = min(image.shape[2], int(np.ceil(cx + w / 2)))
    y2 = min(image.shape[1], int(np.ceil(cy + h / 2)))
    if x1 >= x2 or y1 >= y2:
        return image.clone()
    options: dict[str, Any] = dict(dtype=image.dtype, device=image.device)
    u = (torch.arange(x1, x2, **options) + 0.5 - cx) * (2 / w)
    v = (torch.arange(y1, y2, **options) + 0.5 - cy) * (2 / h)
    u, v = u.expand(len(v), -1), v[:, None].expand(-1, len(u))
    cos, sin = math.cos(angle), math.sin(angle)
    grid = torch.stack([cos * u + sin * v, cos * v - sin * u], -1)[None]
    shown = grid_sample(patch[None], grid, padding_mode='border', align_corners=False)[0]
    out = image.clone()
    inside = u * u + v * v <= 1
    out[:, y1:y2, x1:x2] = torch.where(inside, shown, image[:, y1:y2, x1:x2])
    return out


@TRANSFORMS.register_module()
class GaussianNoise(_Perturbation):
    """Independent normal noise on every pixel and channel of the image on a scale from 0 to 1.

    The image stays an image: what leaves [0, 1] is cut off, and one of whole numbers is rounded
    to them.

    Args:
        variance: of the noise, not negative. 0.01 is a deviation of 25.5 grey levels.
        seed: not negative.
    """

    def __init__(self, variance: float = 0.01, seed: int = 0) -> None:
        super().__init__(seed)
        if not variance >= 0:
            raise ValueError(f'variance must not be negative, got {variance!r}')
        self.variance = variance

    def perturb(self, image: np.ndarray, results: dict, rng: np.random.Generator) -> np.ndarray:
        noise = rng.normal(0.0, self.variance**0.5, image.shape)
        return _as_type_of(image, np.clip(image / 255.0 + noise, 0.0, 1.0) * 255.0)


def _as_type_of(image: np.ndarray, values: np.ndarray) -> np.ndarray:
    if np.issubdtype(image.dtype, np.integer):
        values = np.clip(np.rint(values), 0, 255)
    return np.ascontiguousarray(values.astype(image.dtype))
