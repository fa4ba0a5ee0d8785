"""One picture that blinds a detector wherever it lies on an object.

Brown et al. (Adversarial Patch, 2017) optimise a picture so that a classifier errs on any image it
is put on, in expectation over images, places, angles and sizes. For detectors the picture P lies on
every object of an image, and lowers the score that the object is found by:

    minimise over P  the mean over images, transformations and objects of  g_c(image with P),

g_c the object's own class' score of :mod:`.object_scores`, at the candidates that lie on the object
under the patch; an object that none lies on any more adds nothing. Drawn anew for each object in
each step: the angle, the size around half that of the box, and the place around its centre. Images
come from the training set; at test time :class:`rankdet.datasets.perturbations.AdversarialPatch`
puts the picture at the centre of objects never seen.

Everything random in a step is a function of (seed, step): a run that was killed goes on from its
last save exactly where it would have gone, to the last bit on the same machine and device.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from torch import Tensor
from torch.utils.data import DataLoader

from rankdet.datasets.perturbations import image_rng, paste_disc, patch_size
from rankdet.engine.errors import UserError

from .detector import Images, annotations_of, objects_of
from .object_scores import MIN_IOU, candidates, preprocess
from .progress import TimeLeft

if TYPE_CHECKING:
    from mmdet.models import BaseDetector

#: File to go on from.
STATE = 'adversarial_patch.pt'


@dataclass(frozen=True)
class PatchOptions:
    """How to make a patch.

    Attributes:
        steps: of Adam.
        batch: images in a step.
        size: height and width of the picture in pixels.
        lr: learning rate, on pixels from 0 to 1.
        rotation: greatest angle in degrees, either way.
        scale: least and greatest factor on half the size of the box.
        shift: greatest distance from the centre of the box, as a share of its width and height.
        extent: what of a box is halved, see :mod:`rankdet.datasets.perturbations`.
        seed: of all that is random, not negative.
        save_every: steps between two saves.
    """

    steps: int = 500
    batch: int = 8
    size: int = 64
    lr: float = 0.03
    rotation: float = 22.5
    scale: tuple[float, float] = (0.8, 1.2)
    shift: float = 0.1
    extent: str = 'both'
    seed: int = 0
    save_every: int = 20

    def __post_init__(self) -> None:
        for name in ('steps', 'batch', 'size', 'save_every'):
            if getattr(self, name) < 1:
                raise ValueError(f'{name} must be at least 1, got {getattr(self, name)!r}')
        if not self.lr > 0:
            raise ValueError(f'lr must be positive, got {self.lr!r}')
        if not 0 <= self.rotation <= 180:
            raise ValueError(f'rotation must be in [0, 180] degrees, got {self.rotation!r}')
        if not self.shift >= 0:
            raise ValueError(f'shift must not be negative, got {self.shift!r}')
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f'scale must be two ascending positive factors, got {self.scale!r}')


def make_patch(
    model: BaseDetector,
    dataset: Images,
    options: PatchOptions,
    folder: Path,
    key: str,
    *,
    workers: int = 0,
) -> Path:
    """Optimise a patch, or go on with one, or find it made already.

    Args:
        model: a detector in evaluation mode.
        dataset: images in test mode, see :func:`.detector.build_dataset`.
        options: how.
        folder: gets ``adversarial_patch.png``, and ``adversarial_patch.pt`` to go on from.
        key: of what is attacked and how; a patch under another key is replaced.
        workers: processes that load images.

    Returns:
        The picture, with 8 bits a channel, as it is put on test images.

    Raises:
        UserError: in no step did a candidate lie on an object, so that there was nothing to lower.
    """
    picture, state = folder / 'adversarial_patch.png', folder / STATE
    device = next(model.parameters()).device
    patch = torch.full((3, options.size, options.size), 0.5, device=device, requires_grad=True)
    optimizer = torch.optim.Adam([patch], lr=options.lr)
    history = _restore(state, key, patch, optimizer, options.steps)
    done = len(history)
    if done == options.steps and picture.is_file():
        return picture
    picture.unlink(missing_ok=True)  # of other steps or another key
    annotated = [index for index, (_, found) in enumerate(annotations_of(dataset)) if found]
    loader: DataLoader = DataLoader(
        dataset,
        batch_sampler=[_draw(annotated, options, step) for step in range(done, options.steps)],
        num_workers=workers,
        collate_fn=pseudo_collate,
    )
    folder.mkdir(parents=True, exist_ok=True)
    progress = TimeLeft('adversarial patch', options.steps, done)
    for step, data in enumerate(loader, done):
        value = objective(model, data, patch, options, step)
        optimizer.zero_grad()
        if value.requires_grad:
            value.backward()
            optimizer.step()
            with torch.no_grad():
                patch.clamp_(0, 1)
        history.append(value.item() if value.requires_grad else math.nan)
        if (step + 1) % options.save_every == 0 or step + 1 == options.steps:
            _save(state, key, patch, optimizer, history)
        progress(step + 1, f'mean log-odds of objects {history[-1]:.2f}')
    if all(map(math.isnan, history)):
        raise UserError(
            f'adversarial patch: in none of the {options.steps} steps did a predicted box lie on '
            f'an object (IoU of at least {MIN_IOU}), so there was no score to lower: take a '
            'detector that was trained for longer, or leave this column out by --only original '
            'black random flip noise deepfool'
        )
    pixels = (patch.detach() * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    part = picture.with_name(f'.{picture.name}')
    cv2.imwrite(str(part), pixels)
    os.replace(part, picture)
    return picture


def objective(
    model: BaseDetector, data: dict, patch: Tensor, options: PatchOptions, step: int
) -> Tensor:
    """What :func:`make_patch` minimises, on one batch.

    Args:
        model: a detector in evaluation mode.
        data: a batch as the loader gives it.
        patch: ``(3, S, S)`` from 0 to 1.
        options: how the patch is transformed.
        step: its random numbers are those of this step.

    Returns:
        The mean score of the objects; a constant 0 where no candidate lies on any.
    """
    shown, boxes = [], []
    for image, sample in zip(data['inputs'], data['data_samples']):
        rng = image_rng(options.seed, f'step {step}', sample.img_id)
        image = image.to(patch.device).float()
        corners, labels = objects_of(sample)
        for box in corners.tolist():
            centre, size, angle = _transformation(box, options, rng)
            image = paste_disc(image, patch * 255, centre, size, angle)
        shown.append(image)
        boxes.append((corners.to(patch.device), labels))
    batch = preprocess(model, shown, data['data_samples'])
    scores = []
    for found, (corners, labels) in zip(candidates(model, batch)[0], boxes):
        for box, label in zip(corners, labels):
            rows = found.on(box, label)
            if len(rows):
                scores.append(found.scores(rows)[label])
    return torch.stack(scores).mean() if scores else patch.new_zeros(())


def _transformation(
    box: Sequence[float], options: PatchOptions, rng: np.random.Generator
) -> tuple[tuple[float, float], tuple[float, float], float]:
    """Centre, size and angle of the patch on a box."""
    width, height = patch_size(box, options.extent, rng)
    factor = rng.uniform(*options.scale)
    across, down = rng.uniform(-options.shift, options.shift, 2)
    angle = math.radians(rng.uniform(-options.rotation, options.rotation))
    centre = (
        (box[0] + box[2]) / 2 + across * (box[2] - box[0]),
        (box[1] + box[3]) / 2 + down * (box[3] - box[1]),
    )
    return centre, (factor * width, factor * height), angle


def _draw(annotated: Sequence[int], options: PatchOptions, step: int) -> list[int]:
    """Indices of the images of a step."""
    rng = np.random.default_rng([options.seed, step])
    count = min(options.batch, len(annotated))
    return [annotated[at] for at in rng.choice(len(annotated), count, replace=False)]


def holds_patch(folder: Path, key: str) -> bool:
    """Whether :func:`make_patch` has left something to go on from under this key."""
    return _load(folder / STATE, torch.device('cpu')).get('key') == key


def _load(file: Path, device: torch.device) -> dict:
    """What :func:`_save` has saved; empty where it cannot be used."""
    try:
        state = torch.load(file, map_location=device, weights_only=True)
    except Exception:  # not there, cut short, or another kind of file
        return {}
    return state if isinstance(state, dict) else {}


def _restore(
    file: Path, key: str, patch: Tensor, optimizer: torch.optim.Optimizer, steps: int
) -> list[float]:
    """Fill in what an earlier run has left; the objectives of its steps, none to start anew."""
    state = _load(file, patch.device)
    if state.get('key') != key or len(state['history']) > steps:
        return []
    with torch.no_grad():
        patch.copy_(state['patch'])
    optimizer.load_state_dict(state['optimizer'])
    return list(state['history'])


def _save(
    file: Path, key: str, patch: Tensor, optimizer: torch.optim.Optimizer, history: list[float]
) -> None:
    state = dict(
        key=key, patch=patch.detach(), optimizer=optimizer.state_dict(), history=list(history)
    )
    part = file.with_name(f'.{file.name}.part')
    torch.save(state, part)
    os.replace(part, file)
