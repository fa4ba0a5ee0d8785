"""DeepFool for detectors: the least change of an image that changes what an object is called.

DeepFool (Moosavi-Dezfooli et al., CVPR 2016) finds a small perturbation that changes the class of
an image. The AP Loss paper "slightly generalizes this method from attacking classifier to attacking
detector" and says no more. Here:

- Predictions. A detector's prediction for an object is the class g gives the greatest score, see
  :mod:`.object_scores`, at the candidates that lie on the object in the clean image. Every measured
  object whose prediction is its true class is attacked by itself; the others are counted.
- Norm. L2 over all pixels and channels of the network's input, in grey levels from 0 to 255, before
  normalisation; with the preprocessing of the paper's release (means subtracted, not scaled) this
  is also the norm on the normalised image. ``relative`` is the norm over that of the image, which
  DeepFool's authors average.
- Stop. When the prediction has changed, or after ``max_iter`` steps; what has not changed then is
  counted and left out of the mean. Pixels may leave the range 0 to 255, as in DeepFool itself.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .detector import Images, annotations_of, objects_of
from .object_scores import candidates, preprocess
from .progress import TimeLeft

if TYPE_CHECKING:
    from mmdet.models import BaseDetector
    from mmdet.structures import DetDataSample

#: Added to the distance of a step, in grey levels, so that it crosses a boundary it lies on.
BEYOND = 1e-4


@dataclass(frozen=True)
class DeepFoolOptions:
    """How to attack.

    Attributes:
        max_iter: steps after which an object counts as not fooled, at least 1.
        overshoot: by which share the perturbation is made longer, not negative.
        classes: only the best so many classes of the clean image are tried, as in the authors'
            release; at least 2.
    """

    max_iter: int = 50
    overshoot: float = 0.02
    classes: int = 10

    def __post_init__(self) -> None:
        for name, least in (('max_iter', 1), ('overshoot', 0), ('classes', 2)):
            if not getattr(self, name) >= least:
                raise ValueError(f'{name} must be at least {least}, got {getattr(self, name)!r}')


@dataclass(frozen=True)
class Perturbation:
    """What :func:`least_perturbation` found.

    Attributes:
        pixels: to be added to the image, of its shape.
        changed: whether they change the prediction.
        label: the prediction then.
        iterations: steps taken.
    """

    pixels: Tensor
    changed: bool
    label: int
    iterations: int


def least_perturbation(
    scores: Callable[[Tensor], Tensor],
    image: Tensor,
    options: DeepFoolOptions | None = None,
) -> Perturbation:
    """DeepFool (Algorithm 2 of its paper, L2) on any differentiable classifier.

    From the prediction c each step goes to the nearest of the linearised boundaries,

        r = min over k of  |f_k - f_c| / |w_k|^2 * w_k,   w_k = grad f_k - grad f_c,

    until the prediction at image + (1 + overshoot) * (sum of r) is not c.

    Args:
        scores: an image to its ``(K,)`` scores.
        image: the clean image.
        options: default :class:`DeepFoolOptions`.
    """
    options = options or DeepFoolOptions()
    total, added = torch.zeros_like(image), torch.zeros_like(image)
    tried: list[int] = []
    for iteration in range(options.max_iter + 1):
        at = (image + added).detach().requires_grad_()
        found = scores(at)
        if not tried:  # the best class first, then those that it may become
            tried = found.argsort(descending=True, stable=True)[: options.classes].tolist()
        now = int(found.argmax())
        if now != tried[0]:
            return Perturbation(added, True, now, iteration)
        if iteration == options.max_iter:
            break
        gradients = [_gradient(found[k], at) for k in tried]
        directions = torch.stack(gradients[1:]) - gradients[0]
        lengths = directions.flatten(1).norm(dim=1)
        gaps = (found[tried[1:]] - found[tried[0]]).detach().abs()
        distances = torch.where(lengths > 0, gaps / lengths, torch.inf)
        nearest = int(distances.argmin())
        if not math.isfinite(distances[nearest]):  # no boundary in sight
            break
        step = (distances[nearest] + BEYOND) / lengths[nearest]
        total = total + step * directions[nearest]
        added = (1 + options.overshoot) * total
    return Perturbation(added, False, tried[0], iteration)


def _gradient(score: Tensor, image: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(score, image, retain_graph=True, allow_unused=True)
    return torch.zeros_like(image) if gradient is None else gradient


def attack_image(
    model: BaseDetector,
    image: Tensor,
    sample: DetDataSample,
    options: DeepFoolOptions,
    progress: Callable[[int], None] = lambda done: None,
) -> dict:
    """Attack every object of an image.

    Args:
        model: in evaluation mode.
        image: ``(3, H, W)`` as the pipeline gives it.
        sample: its data sample.
        options: of DeepFool.
        progress: called after each object with the number of those that are done.

    Returns:
        ``objects``: a dict for each object predicted rightly, with its number among the measured
        ones of the image as ``object``, and ``l2``, ``relative``, ``changed``, ``iterations``,
        ``label``, ``becomes``; and ``missed``, the number of the others.
    """
    image = image.float().to(next(model.parameters()).device)
    with torch.no_grad():
        clean, proposals = candidates(model, preprocess(model, [image], [sample]))

    def scores(pixels: Tensor, rows: Tensor) -> Tensor:
        batch = preprocess(model, [pixels], [sample])
        return candidates(model, batch, proposals)[0][0].scores(rows)

    attacked, missed = [], 0
    for number, (box, label) in enumerate(zip(*objects_of(sample, image.device))):
        rows = clean[0].on(box, label)
        if len(rows) and int(clean[0].scores(rows).argmax()) == label:
            found = least_perturbation(partial(scores, rows=rows), image, options)
            l2 = float(found.pixels.norm())
            attacked.append(
                dict(
                    object=number,
                    l2=l2,
                    relative=l2 / float(image.norm()),
                    changed=found.changed,
                    iterations=found.iterations,
                    label=label,
                    becomes=found.label,
                )
            )
        else:
            missed += 1
        progress(number + 1)
    return dict(objects=attacked, missed=missed)


def deepfool(
    model: BaseDetector,
    dataset: Images,
    options: DeepFoolOptions,
    file: Path,
    key: str,
) -> dict[str, float]:
    """Attack all images; a run that was killed goes on where it was.

    Args:
        model: a detector in evaluation mode.
        dataset: images in test mode, see :func:`.detector.build_dataset`.
        options: of DeepFool.
        file: gets a line of JSON for each image, as soon as it is there.
        key: of what is attacked and how; lines under another key are replaced.

    Returns:
        See :func:`summary`.
    """
    records = read_records(file, key)
    file.parent.mkdir(parents=True, exist_ok=True)
    whole = [json.dumps(dict(key=key)), *map(json.dumps, records)]
    part = file.with_name(f'.{file.name}.part')
    part.write_text('\n'.join(whole) + '\n')  # without what a kill cut short
    part.replace(file)
    instances = [one for _, own in annotations_of(dataset) for one in own]
    objects = sum(not one.get('ignore_flag') for one in instances)
    before = sum(len(record['objects']) + record['missed'] for record in records)
    progress = TimeLeft('DeepFool, objects', objects, before)

    def report(done: int) -> None:
        progress(before + done, f'image {len(records) + 1}/{len(dataset)}')

    with file.open('a') as lines:
        for index in range(len(records), len(dataset)):
            data = dataset[index]
            sample = data['data_samples']
            record = dict(image=sample.img_id)
            record |= attack_image(model, data['inputs'], sample, options, report)
            before += len(record['objects']) + record['missed']
            lines.write(json.dumps(record) + '\n')
            lines.flush()
            os.fsync(lines.fileno())
            records.append(record)
    return summary(records)


def summary(records: Sequence[dict]) -> dict[str, float]:
    """Means over the objects whose prediction changed, NaN where there is none.

    Returns:
        ``L2`` and ``relative``, means; ``fooled``, ``withstood`` and ``missed``, numbers of objects
        whose prediction changed, did not, and was wrong to begin with; ``images``.
    """
    objects = [one for record in records for one in record['objects']]
    fooled = [one for one in objects if one['changed']]

    def mean(name: str) -> float:
        return sum(one[name] for one in fooled) / len(fooled) if fooled else math.nan

    return dict(
        L2=mean('l2'),
        relative=mean('relative'),
        fooled=len(fooled),
        withstood=len(objects) - len(fooled),
        missed=sum(record['missed'] for record in records),
        images=len(records),
    )


def common_means(attacks: Sequence[Sequence[dict]]) -> tuple[list[float], int]:
    """Mean norms over the same objects: those whose prediction changed under every detector.

    Args:
        attacks: the records of each detector, see :func:`read_records`, of the same images.

    Returns:
        The mean of each, NaN where there is no such object, and the number of objects.
    """
    norms = [
        {
            (str(record['image']), one['object']): one['l2']
            for record in records
            for one in record['objects']
            if one['changed']
        }
        for records in attacks
    ]
    common = sorted(set.intersection(*map(set, norms)))
    means = [sum(own[at] for at in common) / len(common) if common else math.nan for own in norms]
    return means, len(common)


def read_records(file: Path, key: str) -> list[dict]:
    """What :func:`deepfool` has left under this key, image by image; none under another."""
    if not file.is_file():
        return []
    text = file.read_text()
    lines = text[: text.rfind('\n') + 1].splitlines()
    try:
        head, *records = map(json.loads, lines)
    except ValueError:
        return []
    return records if head == dict(key=key) else []
