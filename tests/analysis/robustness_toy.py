"""A detector whose every score is known by hand: the mean colour of a cell. Not a test itself.

Images are 64 x 64 grey noise on a grid of 16 pixels. An object fills one cell and is of class k if
its channel k is brighter than the others. The detector is MMDetection's RetinaNet with average
pooling for a backbone and no convolution but the last, whose weights are set by hand: one anchor
per cell, boxes that are the anchors, and logit_k = 4.5 x_k - 1.5 (x_0 + x_1 + x_2), with x the mean
of the cell after normalisation, (grey - 128) / 64.
"""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import torch
from mmdet.models.dense_heads import RetinaHead
from mmdet.registry import MODELS
from torch import nn

import rankdet.plugin  # noqa: F401

CELL, CELLS, CLASSES = 16, 4, ('blue', 'green', 'red')
BACKGROUND, BRIGHT = 100, 40


@MODELS.register_module()
class ToyPool(nn.Module):
    def forward(self, image):
        return (nn.functional.avg_pool2d(image, CELL),)

    def init_weights(self) -> None: ...


@MODELS.register_module()
class ToyOwnHead(RetinaHead):
    """Makes boxes in its own way, for all that an attack knows."""

    def _predict_by_feat_single(self, *args, **kwargs):
        return super()._predict_by_feat_single(*args, **kwargs)


def write_data(root: Path, images: dict[str, int], seed: int = 0) -> Path:
    """Images of three objects each, as COCO; the third of the first image is a crowd."""
    rng = np.random.default_rng(seed)
    (root / 'annotations').mkdir(parents=True)
    for split, count in images.items():
        (root / split).mkdir()
        content = dict(images=[], annotations=[])
        for index in range(count):
            size = CELL * CELLS
            pixels = rng.normal(BACKGROUND, 4, (size, size, 3))
            cells = rng.choice(CELLS * CELLS, 3, replace=False).tolist()
            for nth, cell in enumerate(cells):
                y, x = (CELL * part for part in divmod(cell, CELLS))
                label = int(rng.choice(3, p=[0.15, 0.15, 0.7]))  # a patch can be against red
                pixels[y : y + CELL, x : x + CELL, label] += BRIGHT * rng.uniform(0.8, 1.2)
                content['annotations'].append(
                    dict(
                        id=3 * index + nth, image_id=index, category_id=label + 1,
                        bbox=[x, y, CELL, CELL], area=CELL * CELL,
                        iscrowd=int(index == 0 and nth == 2),
                    )
                )  # fmt: skip
            name = f'{index}.png'
            cv2.imwrite(str(root / split / name), np.clip(pixels, 0, 255).round().astype(np.uint8))
            content['images'].append(dict(id=index, file_name=name, width=size, height=size))
        content['categories'] = [dict(id=k + 1, name=name) for k, name in enumerate(CLASSES)]
        (root / f'annotations/{split}.json').write_text(json.dumps(content))
    return root


def write_config(path: Path, data: Path, resize: int = CELL * CELLS) -> Path:
    def loader(split: str) -> dict:
        dataset = dict(
            type='CocoDataset',
            data_root=f'{data}/',
            ann_file=f'annotations/{split}.json',
            data_prefix=dict(img=f'{split}/'),
            metainfo=dict(classes=CLASSES),
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='Resize', scale=(resize, resize), keep_ratio=True),
                dict(type='LoadAnnotations', with_bbox=True),
                dict(type='PackDetInputs'),
            ],
        )
        return dict(
            batch_size=2, num_workers=0, dataset=dataset, sampler=dict(type='DefaultSampler')
        )

    stride = CELL * resize // (CELL * CELLS)
    assert stride == CELL  # the pool's
    settings = dict(
        default_scope='mmdet',
        model=dict(
            type='RetinaNet',
            data_preprocessor=dict(
                type='DetDataPreprocessor', mean=[128.0] * 3, std=[64.0] * 3, pad_size_divisor=16
            ),
            backbone=dict(type='ToyPool'),
            neck=None,
            bbox_head=dict(
                type='RetinaHead', num_classes=3, in_channels=3, feat_channels=3, stacked_convs=0,
                anchor_generator=dict(
                    type='AnchorGenerator', scales=[1], ratios=[1.0], strides=[CELL],
                    center_offset=0.5,
                ),
                loss_cls=dict(type='FocalLoss', use_sigmoid=True),
            ),
            test_cfg=dict(
                nms_pre=100, min_bbox_size=0, score_thr=0.0,
                nms=dict(type='nms', iou_threshold=0.5), max_per_img=100,
            ),
        ),
        train_dataloader=loader('train'),
        test_dataloader=loader('test'),
        train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=1),
        test_cfg=dict(type='TestLoop'),
        test_evaluator=dict(type='CocoMetric', ann_file=f'{data}/annotations/test.json'),
    )  # fmt: skip
    path.write_text('\n'.join(f'{name} = {value!r}' for name, value in settings.items()) + '\n')
    return path


def write_checkpoint(path: Path) -> Path:
    classify = torch.zeros(3, 3, 3, 3)
    classify[:, :, 1, 1] = 4.5 * torch.eye(3) - 1.5
    state = {
        'bbox_head.retina_cls.weight': classify,
        'bbox_head.retina_cls.bias': torch.zeros(3),
        'bbox_head.retina_reg.weight': torch.zeros(4, 3, 3, 3),
        'bbox_head.retina_reg.bias': torch.zeros(4),
    }
    torch.save(dict(meta=dict(dataset_meta=dict(classes=CLASSES)), state_dict=state), path)
    return path


def least_l2(image: np.ndarray, cell: tuple[int, int], label: int) -> float:
    """Distance in grey levels to the nearest image on which the object is called otherwise.

    logit_k - logit_c = 4.5 (x_k - x_c): the means of two channels must meet, and over 256 pixels
    of two channels that costs their difference times 16 / sqrt(2).
    """
    x, y = cell
    means = image[y : y + CELL, x : x + CELL].astype(np.float64).mean((0, 1))
    gap = min(means[label] - means[k] for k in range(3) if k != label)
    return gap * CELL / 2**0.5
