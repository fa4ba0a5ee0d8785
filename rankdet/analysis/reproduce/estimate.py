"""What a row's training will take, from a few timed iterations of the real model."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os.path as osp
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from rankdet.analysis.paper_tables import Row
from rankdet.datasets.official import COCO_SPLITS, VOC_SPLITS
from rankdet.engine.errors import UserError
from rankdet.engine.preflight import leaf_datasets
from rankdet.engine.provenance import cpu_name

from .batch import check_learning_rate, written_for
from .own_data import OWN_DATA
from .plan import Training, environment, plan
from .tiny_run import forget_files, make_tiny_data

if TYPE_CHECKING:
    from mmdet.models import BaseDetector


@dataclass(frozen=True)
class Estimate:
    """What a training takes. ``None`` is a blank: not known, or not measured.

    Attributes:
        row: Its address.
        device: Where it was timed.
        gpus, batch: Processes of the config, and images on each of them.
        images_per_epoch: Training images; those without objects count where they are trained on.
        iterations, images: Of the whole training.
        seconds: Of one iteration of one process.
        extrapolated: Batches that were timed, where they are not the config's.
        memory_gb: Of one process.
        hours: ``iterations`` times ``seconds``.
        gpu_hours: The same for all GPUs together; blank without a GPU.
    """

    row: str
    device: str
    gpus: int
    batch: int
    images_per_epoch: int | None
    iterations: int | None
    images: int | None
    seconds: float
    extrapolated: tuple[int, ...]
    memory_gb: float
    hours: float | None
    gpu_hours: float | None


def estimate(row: Row, root: Path, *, repeats: int = 2) -> Estimate:
    """Time the real model at the real size on the present device.

    The images are generated and go through the real pipeline. A GPU takes the config's batch; a
    CPU takes batches of one and two images, and what the config's takes is extrapolated linearly.
    Testing is not included, nor is waiting for data.

    Args:
        row: What to estimate.
        root: Folder that holds ``configs/``.
        repeats: Timed iterations of each batch, after one that is not.

    Raises:
        UserError: The paper only quotes the row.
    """
    if not row.config:
        raise UserError(f'{row.address}: the paper quotes it; there is nothing to train')
    (training,) = plan([row])
    with tempfile.TemporaryDirectory(prefix='rankdet-estimate-') as place:
        cfg = training.load(root, Path(place, 'run'))
        check_learning_rate(training, cfg)
        batch, gpus = cfg.train_dataloader.batch_size, written_for(cfg)
        count = OWN_DATA[row.data]['num_train'] if row.data in OWN_DATA else training_images(cfg)
        gpu = torch.cuda.is_available()
        batches = [batch] if gpu else [1, 2] if batch > 1 else [1]
        variables = make_tiny_data(Path(place, 'data'), max(4, *batches))
        with environment(variables), _quiet():
            timed = dict(_time(training, root, Path(place, 'run'), batches, repeats))
    seconds, memory = (_line(timed, which, batch) for which in (0, 1))
    iterations = count_iterations(cfg, gpus * batch, count)
    hours = None if iterations is None else iterations * seconds / 3600
    return Estimate(
        row=row.address,
        device=torch.cuda.get_device_name(0) if gpu else f'CPU ({cpu_name()})',
        gpus=gpus,
        batch=batch,
        images_per_epoch=count,
        iterations=iterations,
        images=None if iterations is None else iterations * gpus * batch,
        seconds=round(seconds, 3),
        extrapolated=() if batch in batches else tuple(batches),
        memory_gb=round(memory, 2),
        hours=_rounded(hours),
        gpu_hours=_rounded(hours * gpus) if gpu and hours is not None else None,
    )


def as_text(found: Estimate, style: str = 'text') -> str:
    """An estimate to read, or as JSON."""
    if style == 'json':
        return json.dumps(asdict(found), indent=2)
    how = ''
    if found.extrapolated:
        how = f', extrapolated from batches of {" and ".join(map(str, found.extrapolated))}'
    lines = dict(
        row=found.row,
        device=f'{found.device}, one process',
        batch=f'{found.gpus} x {found.batch} images',
        epoch=_blank(found.images_per_epoch, 'images'),
        training=f'{_blank(found.iterations, "iterations")}, {_blank(found.images, "images")}',
        iteration=f'{found.seconds} s for {found.batch} images{how}',
        memory=f'{found.memory_gb} GB of one process{how}',
        time=f'{_blank(found.hours, "hours")} if {found.gpus} such devices train side by side',
    )
    lines['GPU-hours'] = _blank(found.gpu_hours, '', 'not measured: there is no GPU here')
    return '\n'.join(f'{name:<10} {text}' for name, text in lines.items())


def training_images(cfg: Config) -> int | None:
    """How many images are trained on: those of the official lists, or of the file itself.

    Without those that have no objects, where the config leaves them out. Images that it leaves out
    because they are small count.
    """
    numbers = [_listed(dataset) for dataset in leaf_datasets(cfg.train_dataloader.dataset)]
    known = [number for number in numbers if number is not None]
    return sum(known) if len(known) == len(numbers) else None


def _listed(dataset: ConfigDict) -> int | None:
    path = Path(osp.join(dataset.get('data_root') or '', dataset.get('ann_file') or ''))
    stem = path.stem
    some = bool((dataset.get('filter_cfg') or {}).get('filter_empty_gt'))
    if voc := VOC_SPLITS.get((path.parent.name, stem.removeprefix('instances_'))):
        return voc.images  # each has objects
    if coco := COCO_SPLITS.get(stem):
        return coco.with_objects if some else coco.images
    if not path.is_file():
        return None
    content = json.loads(path.read_text())
    images = {image['id'] for image in content['images']}
    used = {annotation['image_id'] for annotation in content['annotations']}
    return len(images & used) if some else len(images)


def count_iterations(cfg: Config, batch: int, images: int | None) -> int | None:
    """Iterations of a training by so many images at once, of so many an epoch."""
    if 'max_epochs' not in cfg.train_cfg:
        return cfg.train_cfg.max_iters
    return None if images is None else cfg.train_cfg.max_epochs * math.ceil(images / batch)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the lines that MMEngine prints for every weight, and pycocotools for every file."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with contextlib.redirect_stdout(None):
            yield
    finally:
        logger.setLevel(level)


def _time(
    training: Training, root: Path, folder: Path, batches: list[int], repeats: int
) -> Iterator[tuple[int, tuple[float, float]]]:
    """For each batch, seconds of an iteration and peak of the memory in GB."""
    from mmdet.registry import MODELS

    cfg = training.load(root, folder)
    forget_files(cfg)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(cfg.model)
        model.init_weights()
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
        model.to(device).train()
        optimizer = build_optim_wrapper(model, cfg.optim_wrapper)
        for batch in batches:
            samples = _samples(cfg, batch)
            times = []
            for number in range(1 + repeats):
                print(f'batch of {batch}: iteration {number + 1}/{1 + repeats}', file=sys.stderr)
                times.append(_step(model, optimizer, next(samples)))
            yield batch, (statistics.median(times[1:]), _peak_gb(device))


def _samples(cfg: Config, batch: int) -> Iterator[dict]:
    """Batches of this many images, for ever."""
    loader_cfg = cfg.copy().train_dataloader
    loader_cfg.update(batch_size=batch, num_workers=0, persistent_workers=False)
    loader = Runner.build_dataloader(loader_cfg, seed=0)
    while True:
        for data in loader:
            if len(data['inputs']) == batch:
                yield data


def _step(model: BaseDetector, optimizer: OptimWrapper, data: dict) -> float:
    _wait()
    begin = time.perf_counter()
    model.train_step(data, optimizer)
    _wait()
    return time.perf_counter() - begin


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _peak_gb(device: str) -> float:
    if device == 'cuda':
        return torch.cuda.max_memory_allocated() / 2**30
    scale = 2**30 if sys.platform == 'darwin' else 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


def _line(timed: dict[int, tuple[float, float]], which: int, batch: int) -> float:
    """The value at a batch, on the line through the first and the last one that were timed."""
    (first, one), (last, other) = [(b, timed[b][which]) for b in (min(timed), max(timed))]
    return one if first == last else one + (other - one) * (batch - first) / (last - first)


def _rounded(hours: float | None) -> float | None:
    return None if hours is None else float(f'{hours:.3g}')


def _blank(value: float | None, unit: str, why: str = 'not known') -> str:
    return why if value is None else f'{value:,} {unit}'.strip()
