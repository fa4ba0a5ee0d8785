"""Scores of all anchors of a data set beside what was assigned to them, image by image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from mmdet.models.dense_heads import AnchorHead
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.models.utils import unpack_gt_instances
from mmdet.structures import SampleList
from mmdet.structures.bbox import bbox_overlaps, get_box_tensor
from mmdet.utils import InstanceList
from mmengine.config import Config
from mmengine.runner import Runner
from torch import Tensor

from rankdet.analysis.figures.runs import Run, evaluated, load_model
from rankdet.engine.errors import UserError
from rankdet.engine.preflight import leaf_datasets
from rankdet.engine.recorder import dense_head, rows_of, targets_of


@dataclass(frozen=True, eq=False)
class Examples:
    """The anchors or points of some images, end to end.

    Attributes:
        probabilities: ``(A, C)``, of each class.
        targets: ``(A,)``: class; C for background; -1 for ignored.
        ious: ``(A,)``, of the anchor and the object that it overlaps most; None for a head
            without anchors.
        matched: ``(A,)``, class of that object, -1 where nothing is overlapped; or None.
    """

    probabilities: Tensor
    targets: Tensor
    ious: Tensor | None
    matched: Tensor | None

    @property
    def is_positive(self) -> Tensor:
        return (self.targets >= 0) & (self.targets < self.probabilities.shape[1])


def examples(
    run: Run, *, images: int | None = None, device: str | None = None
) -> Iterator[Examples]:
    """Yield :class:`Examples` of a run's newest checkpoint on its evaluated images.

    Args:
        run: the training.
        images: how many of them; None takes all.
        device: None takes a GPU if there is one.

    Raises:
        UserError: the data set has no boxes, or checkpoint and config do not fit.
    """
    model = load_model(run, device)
    head = dense_head(model)
    for batch in annotated_batches(run.config, images):
        with torch.no_grad():
            data = model.data_preprocessor(batch, False)
            outputs = head(model.extract_feat(data['inputs']))
            yield _examples(head, outputs, data['data_samples'])


def annotated_batches(cfg: Config, images: int | None = None) -> Iterator[dict]:
    """Batches of the evaluated images, resized as in a test, with their objects.

    Args:
        cfg: of a training.
        images: exactly the first so many; None takes all.

    Raises:
        UserError: no image has a box.
    """
    loader = deepcopy(cfg[f'{evaluated(cfg)}_dataloader'])
    loader.num_workers, loader.persistent_workers = 0, False
    loader.batch_size = min(loader.batch_size, images or loader.batch_size)
    loader.drop_last = False
    for dataset in leaf_datasets(loader.dataset):
        steps = [step for step in dataset.pipeline if step.type != 'LoadAnnotations']
        # Before any resizing: later ones leave the objects where they were.
        steps.insert(1, dict(type='LoadAnnotations', with_bbox=True))
        steps[-1] = dict(type='PackDetInputs')
        dataset.pipeline = steps
    loader = Runner.build_dataloader(loader, seed=0)
    data = loader.dataset
    count = len(data) if images is None else min(images, len(data))
    if not any(data.get_data_info(index).get('instances') for index in range(count)):
        kind = next(leaf_datasets(cfg[f'{evaluated(cfg)}_dataloader'].dataset))
        raise UserError(
            f'the data set {kind.get("ann_file") or kind.type} has no boxes on its {count} images, '
            'so there is nothing to analyse; take annotated images'
        )
    for batch in loader:
        yield {name: values[:count] for name, values in batch.items()}
        count -= len(batch['inputs'])
        if count <= 0:
            return


def _examples(
    head: BaseDenseHead, outputs: Sequence[Sequence[Tensor]], samples: SampleList
) -> Examples:
    objects, ignored, metas = unpack_gt_instances(samples)
    rows = rows_of(head, *outputs, objects, metas, ignored)
    logits, num_classes = rows.logits.float(), head.num_classes
    softmax = logits.shape[-1] > num_classes
    p = logits.softmax(-1)[..., :num_classes] if softmax else logits.sigmoid()
    ious = matched = None
    if isinstance(head, AnchorHead):
        ious, matched = _overlaps(head, outputs[0], objects, metas)
    return Examples(p.flatten(0, -2), targets_of(rows).flatten(), ious, matched)


def _overlaps(
    head: AnchorHead, cls_scores: Sequence[Tensor], objects: InstanceList, metas: list[dict]
) -> tuple[Tensor, Tensor]:
    sizes = [score.shape[-2:] for score in cls_scores]
    anchors, _ = head.get_anchors(sizes, metas, device=cls_scores[0].device)
    best, classes = [], []
    for levels, found in zip(anchors, objects):
        boxes = get_box_tensor(torch.cat([get_box_tensor(level) for level in levels]))
        if not len(found):
            best.append(boxes.new_zeros(len(boxes)))
            classes.append(torch.full((len(boxes),), -1, device=boxes.device))
            continue
        iou, which = bbox_overlaps(boxes, get_box_tensor(found.bboxes)).max(1)
        best.append(iou)
        classes.append(torch.where(iou > 0, found.labels[which], -1))
    return torch.cat(best), torch.cat(classes)
