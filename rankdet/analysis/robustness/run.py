"""The row of Table 3 for any detectors, kept as it goes."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from rankdet.analysis.checks import check_at_least, check_device
from rankdet.analysis.learning import environment
from rankdet.datasets.perturbations import BlackPatch, GaussianNoise
from rankdet.engine.errors import UserError
from rankdet.engine.preflight import dataset_classes, leaf_datasets

from .adversarial_patch import PatchOptions, holds_patch, make_patch
from .deepfool import DeepFoolOptions, common_means, deepfool, read_records
from .detector import (
    Detector,
    Images,
    annotations_of,
    build_dataset,
    default_device,
    first_images,
    load_model,
    measure,
    require_boxes,
    truth_of,
)
from .object_scores import candidates, preprocess
from .table import to_json

if TYPE_CHECKING:
    from mmdet.models import BaseDetector

#: Transform of each column whose images need nothing but the data set.
TRANSFORMS = {'black': 'BlackPatch', 'random': 'RandomPatch', 'flip': 'FlipPatch'}
#: Columns in the order of the paper's Table 3.
COLUMNS = ('original', *TRANSFORMS, 'adversarial', 'noise', 'deepfool')
#: Those that look into the detector.
ATTACKS = ('adversarial', 'deepfool')


@dataclass(frozen=True)
class RobustnessOptions:
    """What to measure, and on which images.

    Attributes:
        columns: of ``COLUMNS``.
        images: the first so many of the test set; None for all.
        deepfool_images: the first so many of these for DeepFool; None for all.
        train_images: the first so many training images for the adversarial patch; None for all.
        extent: what of a box a patch halves, see :mod:`rankdet.datasets.perturbations`.
        variance: of the noise on images from 0 to 1.
        seed: of all that is random, not negative.
        patch: how to make the adversarial patch; ``extent`` and ``seed`` are those above.
        deepfool: how to attack.
        batch: images at a time, padded to one size; None takes that of the config.
        workers: processes that load images; None takes those of the config. Without effect on any
            number.
        device: torch device; None takes a GPU if there is one.
    """

    columns: Sequence[str] = COLUMNS
    images: int | None = None
    deepfool_images: int | None = None
    train_images: int | None = None
    extent: str = 'both'
    variance: float = 0.01
    seed: int = 0
    patch: PatchOptions = field(default_factory=PatchOptions)
    deepfool: DeepFoolOptions = field(default_factory=DeepFoolOptions)
    batch: int | None = None
    workers: int | None = None
    device: str | None = None

    def __post_init__(self) -> None:
        unknown = [name for name in self.columns if name not in COLUMNS]
        if unknown or not self.columns:
            raise ValueError(f'columns must be among {", ".join(COLUMNS)}; got {unknown}')
        check_at_least(
            1,
            images=self.images,
            deepfool_images=self.deepfool_images,
            train_images=self.train_images,
            batch=self.batch,
        )
        check_at_least(0, workers=self.workers)
        check_device(self.device)
        BlackPatch(self.extent, self.seed)  # they say what is wrong with these
        GaussianNoise(self.variance)
        patch = replace(self.patch, extent=self.extent, seed=self.seed)
        object.__setattr__(self, 'patch', patch)


def measure_robustness(
    detectors: Sequence[Detector],
    options: RobustnessOptions,
    out_dir: str | os.PathLike,
    *,
    command: str = '',
) -> list[dict]:
    """Measure what is missing; a run that was killed goes on where it was.

    Args:
        detectors: from :func:`.detector.find_detectors`.
        options: what to measure.
        out_dir: gets a folder for each detector, with ``results.json``, adversarial patches and
            DeepFool's norms image by image, those of other weights or options side by side. A
            result is used again only for the same weights, model, images and options.
        command: that was called, kept with each result.

    Returns:
        A row for each detector, in their order: ``name``, ``config``, ``checkpoint`` and
        ``cells``, the results by column.

    Raises:
        UserError: a detector's checkpoint or data does not fit, or its head cannot be attacked,
            found before anything is measured; or no object had a candidate in any step of the
            adversarial patch.
    """
    tasks = [_Task(one, options, Path(out_dir) / one.name, command) for one in detectors]
    for task in tasks:
        task.check()
    rows = [task.row() for task in tasks]
    _compare_deepfool(tasks, rows)
    return rows


def _compare_deepfool(tasks: Sequence[_Task], rows: Sequence[dict]) -> None:
    """Also give DeepFool's mean norm over the objects that all detectors lose to it."""
    attacked = [n for n, row in enumerate(rows) if 'deepfool' in row['cells']]
    truth = [annotations_of(tasks[n].images) for n in attacked]
    if len(attacked) < 2 or any(one != truth[0] for one in truth):
        return
    attacks = [tasks[n].deepfool_records() for n in attacked]
    for n, records in zip(attacked, attacks):
        if len(records) != rows[n]['cells']['deepfool']['images']:
            print(
                f'DeepFool is not compared over the same objects: {tasks[n].deepfool_file} is not '
                'there or incomplete',
                file=sys.stderr,
                flush=True,
            )
            return
    means, count = common_means(attacks)
    for n, mean in zip(attacked, means):
        rows[n]['cells']['deepfool'] |= dict(common_L2=mean, common=count)


class _Task:
    """The row of one detector."""

    def __init__(
        self, detector: Detector, options: RobustnessOptions, folder: Path, command: str
    ) -> None:
        self.detector, self.options, self.folder = detector, options, folder
        self.command, self.file = command, folder / 'results.json'

    def check(self) -> None:
        """Raise a UserError for what would end the run later."""
        cfg = self.detector.cfg
        model = load_model(self.detector, 'cpu')
        require_boxes(self.images, cfg)
        if self.classes is None:
            raise UserError(f'{cfg.filename} names no classes: set metainfo of its data set')
        if 'deepfool' in self.options.columns and len(self.classes) < 2:
            raise UserError(
                f'{cfg.filename} has one class: DeepFool needs another that an object can be '
                'called; leave that column out'
            )
        if 'adversarial' in self.options.columns:
            require_boxes(self.train_images, cfg, 'train')
        if set(ATTACKS) & set(self._missing()):
            self._check_attack(model)

    def _check_attack(self, model: BaseDetector) -> None:
        """Ask for the candidates of one image, and raise a UserError if that fails."""
        data = self.images[0]
        try:
            model.to(self.options.device or default_device())
            image = data['inputs'].float().to(next(model.parameters()).device)
            with torch.no_grad():
                candidates(model, preprocess(model, [image], [data['data_samples']]))
        except Exception as error:
            head = getattr(model, 'roi_head', None) or getattr(model, 'bbox_head', None)
            reason = f'{type(error).__name__} {error}'.strip().splitlines()[0]
            what = f'{type(model).__name__} with {type(head).__name__} fails on an image: {reason}'
            rest = ' '.join(one for one in COLUMNS if one not in ATTACKS)
            raise UserError(
                f'{self.detector.cfg.filename} cannot be attacked: '
                f'{error if isinstance(error, UserError) else what}; leave these columns out by '
                f'--only {rest}'
            ) from error

    def _missing(self) -> list[str]:
        """Columns that are to be measured."""
        kept = self._read()
        columns = (one for one in COLUMNS if one in self.options.columns)
        return [one for one in columns if kept.get(one, {}).get('key') != self._key(one)]

    def row(self) -> dict:
        """The row; what is missing is measured first, and kept."""
        row = dict(
            name=self.detector.name,
            config=str(self.detector.cfg.filename),
            checkpoint=str(self.detector.checkpoint),
        )
        kept = self._read()
        for column in self._missing():
            print(f'{self.detector.name}: {column}', file=sys.stderr, flush=True)
            started, key = time.monotonic(), self._key(column)
            values = self._measure(column, key)
            seconds = round(time.monotonic() - started, 1)
            kept[column] = values | self._provenance(column) | dict(seconds=seconds, key=key)
            _write_whole(self.file, to_json(row | dict(cells=kept)) + '\n')
            kept = self._read()  # as it will be found when it is used again
        self.__dict__.pop('model', None)  # the next detector needs the room
        return row | dict(cells={one: kept[one] for one in COLUMNS if one in self.options.columns})

    @cached_property
    def model(self) -> BaseDetector:
        return load_model(self.detector, self.options.device)

    @cached_property
    def images(self) -> Images:
        return first_images(build_dataset(self.detector.cfg), self.options.images)

    @cached_property
    def train_images(self) -> Images:
        dataset = build_dataset(self.detector.cfg, split='train')
        return first_images(dataset, self.options.train_images)

    @cached_property
    def classes(self) -> tuple[str, ...] | None:
        return dataset_classes(next(leaf_datasets(self.detector.cfg.test_dataloader.dataset)))

    @cached_property
    def truth(self) -> dict:
        assert self.classes is not None  # or the run would not have begun
        return truth_of(self.images, self.classes)

    @cached_property
    def _digest(self) -> str:
        return _digest([self.detector.digest, annotations_of(self.images), self.truth])

    @property
    def deepfool_file(self) -> Path:
        """Norms under the key of these options; earlier versions had one file for all keys."""
        key, old = self._key('deepfool'), self.folder / 'deepfool.jsonl'
        return old if read_records(old, key) else self.folder / f'deepfool-{key[:12]}.jsonl'

    def deepfool_records(self) -> list[dict]:
        """What DeepFool found on each image, none where the file was not kept."""
        return read_records(self.deepfool_file, self._key('deepfool'))

    def _read(self) -> dict[str, dict]:
        try:
            return dict(json.loads(self.file.read_text())['cells'])
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    @property
    def _batch(self) -> int:
        loader = self.detector.cfg.test_dataloader
        return self.options.batch or loader.get('batch_size') or 1

    def _settings(self, column: str) -> dict:
        """All options that the numbers of a column depend on."""
        if column == 'deepfool':  # takes one image at a time
            return asdict(self.options.deepfool) | dict(images=self.options.deepfool_images)
        # Images of a batch are padded to one size, which detectors see.
        return self._perturbation(column) | dict(batch_size=self._batch)

    def _perturbation(self, column: str) -> dict:
        """The options of what is done to the images, for AP."""
        options = self.options
        if column in TRANSFORMS:
            return dict(extent=options.extent, seed=options.seed)
        if column == 'noise':
            return dict(variance=options.variance, seed=options.seed)
        if column == 'adversarial':
            settings = asdict(options.patch)
            return {name: settings[name] for name in settings if name != 'save_every'}
        return {}

    def _key(self, column: str) -> str:
        parts = [self._digest, column, self._settings(column)]
        return _digest([*parts, self._patch_key()] if column == 'adversarial' else parts)

    def _patch_key(self) -> str:
        """More steps go on with a patch, other options begin a new one."""
        settings = {k: v for k, v in self._perturbation('adversarial').items() if k != 'steps'}
        return _digest([self.detector.digest, annotations_of(self.train_images), settings])

    @property
    def _patch_folder(self) -> Path:
        """Of the patch under the key of these options; earlier versions had one for all keys."""
        key = self._patch_key()
        known = holds_patch(self.folder, key)
        return self.folder if known else self.folder / f'adversarial-{key[:12]}'

    def _measure(self, column: str, key: str) -> dict:
        loader, options = self.detector.cfg.test_dataloader, self.options
        if column == 'deepfool':
            images = first_images(self.images, options.deepfool_images)
            return deepfool(self.model, images, options.deepfool, self.deepfool_file, key)
        workers = loader.get('num_workers', 0) if options.workers is None else options.workers
        settings, images = self._perturbation(column), self.images
        if column == 'adversarial':
            patch = make_patch(
                self.model,
                self.train_images,
                options.patch,
                self._patch_folder,
                self._patch_key(),
                workers=workers,
            )
            settings = {name: settings[name] for name in ('rotation', 'extent', 'seed')}
            settings |= dict(patch=str(patch))
        if column != 'original':
            kind = {'adversarial': 'AdversarialPatch', 'noise': 'GaussianNoise', **TRANSFORMS}
            perturbation = dict(type=kind[column], **settings)
            images = build_dataset(self.detector.cfg, perturbation=perturbation)
            images = first_images(images, options.images)
        return measure(self.model, images, self.truth, workers=workers, batch=self._batch)

    def _provenance(self, column: str) -> dict:
        found, device = environment(Path(__file__)), next(self.model.parameters()).device
        on_gpu = device.type == 'cuda'
        return dict(
            settings=self._settings(column),
            command=self.command,
            date=datetime.now(timezone.utc).strftime('%Y-%m-%d'),
            device=torch.cuda.get_device_name(device) if on_gpu else f'{platform.machine()} CPU',
            **{name: found[name] for name in ('commit', 'torch', 'python')},
        )


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def _write_whole(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f'.{file.name}.part')
    part.write_text(text)
    part.replace(file)
