"""A config with its checkpoint: the model, its images as they come or perturbed, its AP."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from mmdet.datasets import CocoDataset, XMLDataset
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config, ConfigDict
from mmengine.dataset import BaseDataset, pseudo_collate
from mmengine.fileio import get_local_path
from mmengine.registry import init_default_scope
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, Subset

from rankdet.engine.checkpoints import latest_checkpoint
from rankdet.engine.errors import UserError
from rankdet.engine.launch import load_config, model_config
from rankdet.engine.preflight import (
    check_checkpoint,
    check_data,
    dataset_classes,
    leaf_datasets,
    read_checkpoint,
)
from rankdet.evaluation import evaluate
from rankdet.untrusted import read_json

from .progress import TimeLeft

if TYPE_CHECKING:
    from mmdet.models import BaseDetector
    from mmdet.structures import DetDataSample

#: Counted up with every change to the code of this package or of the perturbations that changes a
#: number: what was kept under another version is measured again.
VERSION = 3
#: One data set, several end to end, or a part of these.
Images: TypeAlias = BaseDataset | ConcatDataset | Subset


@dataclass(frozen=True)
class Detector:
    """A detector to be tested.

    Attributes:
        name: of its row.
        cfg: its config.
        checkpoint: its weights.
    """

    name: str
    cfg: Config
    checkpoint: Path

    @property
    def digest(self) -> str:
        """Of all that its results depend on but the images: code, model, weights, pipeline."""
        cfg = self.cfg
        what = [VERSION, cfg.model, cfg.get('data_preprocessor'), cfg.test_dataloader.dataset]
        text = json.dumps(what, sort_keys=True, default=str)
        weights = hashlib.sha256(self.checkpoint.read_bytes()).hexdigest()
        return hashlib.sha256(f'{text}\0{weights}'.encode()).hexdigest()


def find_detectors(
    arguments: Sequence[str],
    names: Sequence[str] | None = None,
    cfg_options: Sequence[str] | None = None,
) -> list[Detector]:
    """Detectors from a command line: configs each with its checkpoint behind it, or work_dirs.

    Args:
        arguments: ``CONFIG CHECKPOINT`` pairs, and folders of runs, which hold both.
        names: of the rows; None takes those of the configs, with those of the checkpoints where
            they alone tell two apart.
        cfg_options: overrides for all configs, ``a.b=value``.

    Raises:
        UserError: A config, a checkpoint, or one for the other is missing; their data is.
    """
    pairs, waiting = [], [Path(one) for one in arguments]
    while waiting:
        path = waiting.pop(0)
        if path.is_dir():
            pairs.append(_of_folder(path))
        elif path.suffix != '.py':
            raise UserError(f'checkpoint {path} has no config in front of it (CONFIG CHECKPOINT)')
        elif not waiting or waiting[0].suffix == '.py' or waiting[0].is_dir():
            raise UserError(f'config {path} has no checkpoint behind it (CONFIG CHECKPOINT)')
        else:
            pairs.append((path, waiting.pop(0)))
    if not pairs:
        raise UserError('no detector: give CONFIG CHECKPOINT, or the folder of a run')
    found = []
    for (config, checkpoint), name in zip(pairs, _row_names(pairs, names)):
        cfg = load_config(str(config), cfg_options=list(cfg_options) if cfg_options else None)
        check_data(cfg, ('test',))
        if not checkpoint.is_file():
            raise UserError(f'checkpoint {checkpoint} does not exist')
        found.append(Detector(name, cfg, checkpoint))
    return found


def _of_folder(folder: Path) -> tuple[Path, Path]:
    configs, checkpoint = sorted(folder.glob('*.py')), latest_checkpoint(folder)
    if len(configs) != 1:
        raise UserError(
            f'folder {folder} holds {len(configs) or "no"} configs: give CONFIG CHECKPOINT'
        )
    if checkpoint is None:
        raise UserError(f'folder {folder} holds no checkpoint (epoch_N.pth or iter_N.pth)')
    return configs[0], checkpoint


def _row_names(pairs: Sequence[tuple[Path, Path]], names: Sequence[str] | None) -> list[str]:
    if names is None:
        stems = [config.stem for config, _ in pairs]
        names = [
            stem if stems.count(stem) == 1 else f'{stem}-{checkpoint.stem}'
            for stem, (_, checkpoint) in zip(stems, pairs)
        ]
    if len(names) != len(pairs):
        raise UserError(f'there are {len(pairs)} detectors, but --names has {len(names)}')
    if twice := [name for name in names if list(names).count(name) > 1]:
        raise UserError(f'two detectors are called {twice[0]}: tell them apart by --names')
    if wrong := [name for name in names if name != Path(name).name or name in ('', '.', '..')]:
        raise UserError(f'--names are folders, too: {wrong[0]!r} is no name of one')
    return list(names)


def load_model(detector: Detector, device: str | None = None) -> BaseDetector:
    """The model in evaluation mode, with its weights, none of which collects gradients.

    Args:
        detector: config and checkpoint.
        device: torch device; None takes a GPU if there is one.

    Raises:
        UserError: the checkpoint does not fit the config.
    """
    cfg, path = detector.cfg, str(detector.checkpoint)
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    model = MODELS.build(model_config(cfg))
    classes = dataset_classes(next(leaf_datasets(cfg.test_dataloader.dataset)))
    check_checkpoint(model, path, classes)
    model.load_state_dict(read_checkpoint(path)[0], strict=False)
    model.requires_grad_(False)
    return model.eval().to(device or default_device())


def default_device() -> str:
    """A GPU if there is one."""
    return 'cuda:0' if torch.cuda.is_available() else 'cpu'


def build_dataset(
    cfg: Config, *, split: str = 'test', perturbation: Mapping | None = None
) -> Images:
    """The images of a config in test mode, perturbed or as they are.

    Args:
        cfg: of a detector.
        split: 'test', or 'train' for the images it was trained on, without their augmentation.
        perturbation: config of a transform that goes behind the one that loads the image.

    Raises:
        UserError: the pipeline is no list that begins by loading an image and ends by packing it.
    """
    pipeline = _pipeline(cfg, perturbation)
    if split == 'test':
        leaves = list(leaf_datasets(deepcopy(cfg.test_dataloader.dataset)))
    else:
        if not cfg.get('train_dataloader'):
            raise UserError(f'config {cfg.filename} has no train_dataloader')
        check_data(cfg, ('train',))
        leaves = list(leaf_datasets(deepcopy(cfg.train_dataloader.dataset)))
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    built = []
    for leaf in leaves:
        leaf.update(pipeline=deepcopy(pipeline), test_mode=True)
        built.append(DATASETS.build(leaf))
    return built[0] if len(built) == 1 else ConcatDataset(built)


def _pipeline(cfg: Config, perturbation: Mapping | None) -> list[ConfigDict]:
    pipeline = deepcopy(list(next(leaf_datasets(cfg.test_dataloader.dataset)).get('pipeline', [])))
    kinds = [_kind(step) for step in pipeline]
    loads = [at for at, kind in enumerate(kinds) if kind.startswith('LoadImage')]
    if not loads or kinds[-1] != 'PackDetInputs':
        raise UserError(
            f'the test pipeline of {cfg.filename} must load an image (LoadImageFromFile ...) and '
            f'end in PackDetInputs, got {kinds}'
        )
    keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
    given = tuple(pipeline[-1].get('meta_keys', keys))
    pipeline[-1]['meta_keys'] = tuple(dict.fromkeys((*given, *keys, 'instances')))
    if perturbation:
        pipeline.insert(loads[0] + 1, ConfigDict(perturbation))
    return pipeline


def _kind(step: Mapping) -> str:
    kind = step.get('type', '')
    return (kind if isinstance(kind, str) else kind.__name__).rpartition('.')[2]


def first_images(dataset: Images, count: int | None) -> Images:
    """The first ``count`` images, all for None."""
    return dataset if count is None else Subset(dataset, range(min(count, len(dataset))))


def annotations_of(dataset: Images) -> list[tuple[object, list]]:
    """(image id, instances) of each image, without loading it."""
    if isinstance(dataset, Subset):
        whole: Any = dataset.dataset
        inside = annotations_of(whole)
        return [inside[index] for index in dataset.indices]
    if isinstance(dataset, ConcatDataset):
        return [one for part in dataset.datasets for one in annotations_of(part)]
    infos = map(dataset.get_data_info, range(len(dataset)))
    return [(info['img_id'], info.get('instances', [])) for info in infos]


def truth_of(dataset: Images, classes: Sequence[str]) -> dict:
    """COCO ground truth of the images, which are numbered as they come; the ids of classes are the
    labels.

    It is that of the annotation file where there is one in COCO's format, as for the metrics of
    :mod:`rankdet.evaluation`: a data sample no longer tells VOC's difficult objects from crowds.
    In VOC's XML, which has no crowds, all that is ignored is difficult.
    """
    objects = [
        dict(image_id=image) | one
        for image, own in enumerate(_objects_of_images(dataset))
        for one in own
    ]
    return dict(
        images=[dict(id=image) for image in range(len(dataset))],
        categories=[dict(id=label, name=name) for label, name in enumerate(classes)],
        annotations=objects,
    )


def _objects_of_images(dataset: Images) -> list[list[dict]]:
    if isinstance(dataset, Subset):
        inside = _objects_of_images(dataset.dataset)  # type: ignore[arg-type]
        return [inside[index] for index in dataset.indices]
    if isinstance(dataset, ConcatDataset):
        return [one for part in dataset.datasets for one in _objects_of_images(part)]
    known = annotations_of(dataset)
    if not isinstance(dataset, CocoDataset):
        voc = isinstance(dataset, XMLDataset)
        return [[_as_coco(one, voc) for one in instances] for _, instances in known]
    by_image: dict[object, list[dict]] = {}
    with get_local_path(dataset.ann_file, backend_args=dataset.backend_args) as path:
        annotations = read_json(path, 'ground truth').get('annotations') or ()
    for one in annotations:
        if (label := dataset.cat2label.get(one['category_id'])) is not None:
            kept = {name: one[name] for name in ('bbox', 'iscrowd', 'difficult') if name in one}
            by_image.setdefault(one['image_id'], []).append(dict(category_id=label) | kept)
    return [by_image.get(image, []) for image, _ in known]


def require_boxes(dataset: Images, cfg: Config, split: str = 'test') -> None:
    """Raise a UserError where no image has a box."""
    if not any(instances for _, instances in annotations_of(dataset)):
        leaf = next(leaf_datasets(cfg[f'{split}_dataloader'].dataset))
        raise UserError(
            f'{split}_dataloader ({leaf.type}): {leaf.get("ann_file") or "the data set"} has no '
            f'boxes on the {len(dataset)} images in use; robustness needs annotated images'
        )


def objects_of(
    sample: DetDataSample, device: torch.device | str = 'cpu'
) -> tuple[Tensor, list[int]]:
    """The measured objects of an image.

    Returns:
        Corners ``(n, 4)`` in pixels of the network's input, and the labels.
    """
    instances = [one for one in sample.instances if not one.get('ignore_flag')]
    boxes = torch.tensor([one['bbox'] for one in instances], dtype=torch.float32).view(-1, 4)
    scale = torch.tensor(sample.get('scale_factor', (1.0, 1.0)), dtype=torch.float32).repeat(2)
    return (boxes * scale).to(device), [int(one['bbox_label']) for one in instances]


@torch.no_grad()
def measure(
    model: BaseDetector, dataset: Images, truth: Mapping, *, workers: int, batch: int
) -> dict[str, float]:
    """AP and AP50 as COCO measures them, in [0, 1], over exactly these images.

    Args:
        model: from :func:`load_model`.
        dataset: from :func:`build_dataset`, or a part of it.
        truth: from :func:`truth_of`, of the same images.
        workers: processes that load images.
        batch: images at a time.
    """
    loader: DataLoader = DataLoader(
        dataset, batch_size=batch, num_workers=workers, collate_fn=pseudo_collate, shuffle=False
    )
    found, done = [], 0
    progress = TimeLeft('detecting', len(dataset))
    for data in loader:
        for sample in model.test_step(data):
            boxes = sample.pred_instances.bboxes.cpu().double()
            boxes[:, 2:] -= boxes[:, :2]
            rows = (boxes, sample.pred_instances.scores, sample.pred_instances.labels)
            found += [
                dict(image_id=done, category_id=label, bbox=box, score=score)
                for box, score, label in zip(*(values.tolist() for values in rows))
            ]
            done += 1
        progress(done)
    values = evaluate(truth, found, bounds=False).summary()
    counted = sum(not one.get('iscrowd') for one in truth['annotations'])
    return dict(AP=values['AP'], AP50=values['AP50'], images=done, objects=counted)


def _as_coco(instance: Mapping, voc: bool) -> dict:
    x1, y1, x2, y2 = map(float, instance['bbox'])
    ignored = int(instance.get('ignore_flag', 0))
    return dict(
        category_id=int(instance['bbox_label']),
        bbox=[x1, y1, x2 - x1, y2 - y1],
        iscrowd=ignored,
        **(dict(difficult=1) if voc and ignored else {}),
    )
