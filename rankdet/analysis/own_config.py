"""The config for a user's own data, as a file that the user can read and edit."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from string import Template

import numpy as np

from rankdet.analysis.own_model import BACKBONES, BASE_BATCH, DETECTORS, fit_anchors, model
from rankdet.commands import tool_line
from rankdet.datasets.own.convert import OwnData
from rankdet.engine.errors import UserError
from rankdet.engine.pretrained import BACKBONES as WEIGHTS
from rankdet.engine.pretrained import RANDOM

_LINE = 100  # characters
_TEMPLATE = Template("""\
# $detector with backbone '$backbone', trained by '$loss' on $name ($format).
# Written by train_own, which from now on uses it as it is. Edit it, or a copy of it:
#     $again
_base_ = 'rankdet::_base_/default_runtime.py'

# Read from the data. Labels follow this order, and num_classes of the head is their number.
metainfo = dict(classes=$classes)
images = $images
train_file = $train
val_file = $val
test_file = $test

# $start What the head looks for is fitted to
# the objects, whose median size is $median pixels at the resolution below.
$model
# The longer side of every image becomes this long.
img_scale = ($size, $size)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=img_scale, keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion', hue_delta=9, contrast_range=(0.8, 1.2)),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=img_scale, keep_ratio=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]

# $count images to train on: $per_epoch iterations an epoch.
batch_size = $batch
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=1,
    persistent_workers=True,
    # Augmentation is a function of (seed, epoch, index): a resumed run sees the same images.
    sampler=dict(type='SeededSampler', shuffle=True),
    batch_sampler=None,
    dataset=dict(
        type='SeededDataset',
        dataset=dict(
            type='CocoDataset',
            metainfo=metainfo,
            ann_file=train_file,
            data_prefix=dict(img=images),
            # Images without objects are background to learn from.
            filter_cfg=dict(filter_empty_gt=False, min_size=1),
            pipeline=train_pipeline,
        ),
    ),
)
val_dataloader = dict(
    batch_size=batch_size,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CocoDataset',
        metainfo=metainfo,
        ann_file=val_file,
        data_prefix=dict(img=images),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = dict(
    batch_size=batch_size,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CocoDataset',
        metainfo=metainfo,
        ann_file=test_file,
        data_prefix=dict(img=images),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
val_evaluator = dict(type='CocoMetric', ann_file=val_file, metric='bbox')
test_evaluator = dict(type='CocoMetric', ann_file=test_file, metric='bbox')

max_epochs = $epochs
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=$interval)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    # $base_lr is meant for batch $base_batch; it goes with the square root of the batch.
    optimizer=dict(type='AdamW', lr=$lr, weight_decay=0.01),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0$backbone_lr),
    clip_grad=dict(max_norm=10.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=$warm_up),
    dict(
        type='CosineAnnealingLR',
        by_epoch=True,
        begin=0,
        end=max_epochs,
        T_max=max_epochs,
        convert_to_iter_based=True,
    ),
]
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=$log_interval),
    checkpoint=dict(type='CheckpointHook', interval=$interval, max_keep_ckpts=2),
)
randomness = dict(seed=$seed)
""")


@dataclass(frozen=True)
class OwnOptions:
    """What a training on own data depends on.

    Attributes:
        folder: the data.
        loss, detector: see ``DETECTORS``.
        backbone: 'small', 'r18' or 'r50'.
        epochs, batch, image_size: None chooses by data and backbone.
        seed: of weights, order, augmentation and held-out images.
        format, val_share, skip_bad: see :func:`rankdet.datasets.own.convert.convert_own`.
    """

    folder: str
    loss: str = 'ap'
    detector: str = 'retinanet'
    backbone: str = 'small'
    epochs: int | None = None
    batch: int | None = None
    image_size: int | None = None
    seed: int = 0
    format: str | None = None
    val_share: float = 0.2
    skip_bad: bool = False

    def check(self) -> None:
        """Raises UserError for what does not fit together."""
        losses = DETECTORS[self.detector]
        if self.loss not in losses:
            raise UserError(f'--loss {self.loss}: {self.detector} takes {", ".join(losses)}')
        for name, least in (('epochs', 1), ('batch', 1), ('image_size', 64)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UserError(f'--{name.replace("_", "-")} must be at least {least}, got {value}')


def config_text(options: OwnOptions, data: OwnData) -> str:
    """The config for converted data, ready to be written to a file.

    The batch is 8, or less where that would leave fewer than four iterations an epoch; the learning
    rate goes with its square root, as suits AdamW; the epochs, at most 200, make up the iterations
    that the backbone is given.
    """
    backbone = BACKBONES[options.backbone]
    pretrained = backbone.weights is not None and os.environ.get(WEIGHTS) != RANDOM
    size = options.image_size or backbone.image_size
    anchors = fit_anchors(box_sizes(data.annotations('train'), size))
    network = model(
        options.detector, options.loss, backbone, len(data.classes), anchors, pretrained
    )
    network_text = f'model = {as_python(network, used=8)}\n'
    if options.loss == 'alrp':
        network_text += "custom_hooks = [dict(type='SelfBalanceHook')]\n"
    count = data.counts['train']['images']
    batch = options.batch or max(min(BASE_BATCH, count // 4), 1)
    per_epoch = math.ceil(count / batch)
    epochs = options.epochs or min(max(round(backbone.iterations / per_epoch), 1), 200)
    test = 'test' if 'test' in data.counts else 'val'
    weights = f'{backbone.weights} pretrained,' if pretrained else 'random weights.'
    text = _TEMPLATE.substitute(
        again=tool_line('train', 'COPY.py', '--work-dir', 'work_dirs/another'),
        detector=options.detector,
        backbone=options.backbone,
        loss=options.loss,
        name=repr(Path(data.source).name),
        format=data.format,
        classes=repr(tuple(data.classes)),
        images=repr(data.images),
        train=repr(str(data.annotations('train'))),
        val=repr(str(data.annotations('val'))),
        test=repr(str(data.annotations(test))),
        start=f'The backbone starts from {weights}'.rstrip(',') + ('.' if pretrained else ''),
        median=round(anchors.median),
        model=network_text,
        size=size,
        count=f'{count:,}',
        per_epoch=per_epoch,
        batch=batch,
        epochs=epochs,
        interval=max(1, round(epochs / 5)),
        base_lr=backbone.lr,
        base_batch=BASE_BATCH,
        lr=float(f'{backbone.lr * math.sqrt(batch / BASE_BATCH):.3g}'),
        backbone_lr=", custom_keys={'backbone': dict(lr_mult=0.1)}" if pretrained else '',
        warm_up=max(1, min(50, epochs * per_epoch // 4)),
        log_interval=min(50, per_epoch),
        seed=options.seed,
    )
    # MMEngine replaces what stands in double braces, even inside of a name.
    return text.replace('{{', '{\\x7b')


def as_python(value: object, indent: int = 0, used: int = 0) -> str:
    """A value of a config as a person would write it: ``dict(a=1)``, broken where lines get long.

    Args:
        value: dicts with plain keys, lists, tuples, and what ``repr`` shows.
        indent: of the line that it begins on.
        used: characters that stand before it on that line, beyond the indent, and after it.

    >>> as_python(dict(type='FPN', strides=[8, 16]))
    "dict(type='FPN', strides=[8, 16])"
    """
    if isinstance(value, dict):
        items = [(f'{key}=', inner) for key, inner in value.items()]
        opened, closed = 'dict(', ')'
    elif isinstance(value, (list, tuple)):
        items = [('', inner) for inner in value]
        opened, closed = '[]' if isinstance(value, list) else '()'
        closed = ',)' if isinstance(value, tuple) and len(value) == 1 else closed
    else:
        return repr(value)
    flat = opened + ', '.join(key + as_python(inner, -10_000) for key, inner in items) + closed
    if indent + used + len(flat) <= _LINE or not items:
        return flat
    inside = indent + 4
    lines = [
        f'{" " * inside}{key}{as_python(inner, inside, len(key) + 1)},\n' for key, inner in items
    ]
    return f'{opened}\n{"".join(lines)}{" " * indent}{closed[-1]}'


def box_sizes(annotations: Path, image_size: int) -> np.ndarray:
    """Width and height of all objects, in pixels of images scaled to ``image_size``."""
    content = json.loads(annotations.read_text(encoding='utf-8'))
    scale = {i['id']: image_size / max(i['width'], i['height']) for i in content['images']}
    boxes = [np.array(a['bbox'][2:]) * scale[a['image_id']] for a in content['annotations']]
    return np.array(boxes, dtype=float).reshape(-1, 2)
