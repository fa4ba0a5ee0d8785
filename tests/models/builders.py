"""Small heads and batches for the tests of heads. Not a test itself."""

from __future__ import annotations

import numpy as np
import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

import rankdet.plugin  # noqa: F401

SIZE = 96
FOCAL = dict(type='FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0)
SOFTMAX = dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0)
SMOOTH_L1 = dict(type='SmoothL1Loss', beta=0.11, loss_weight=0.25)
GIOU = dict(type='GIoULoss')
IOU = dict(type='IoULoss', mode='linear')

# Every loss a head must take: config, and the box loss that goes with it.
LOSSES = {
    'focal': (FOCAL, SMOOTH_L1),
    'ohem': (dict(type='OHEMCrossEntropyLoss'), SMOOTH_L1),
    'auc': (dict(type='AUCLoss'), SMOOTH_L1),
    'ap': (dict(type='APLoss'), SMOOTH_L1),
    'alrp-giou': (dict(type='aLRPLoss'), GIOU),
    'alrp-iou': (dict(type='aLRPLoss'), IOU),
    'dr': (dict(type='DRLoss'), SMOOTH_L1),
}
CODER = dict(type='DeltaXYWHBBoxCoder', target_means=[0.0] * 4, target_stds=[0.1, 0.1, 0.2, 0.2])
MAX_IOU = dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0)
ATSS = dict(type='ATSSAssigner', topk=9)
TEST_CFG = dict(
    nms_pre=100, min_bbox_size=0, score_thr=0.0, nms=dict(type='nms', iou_threshold=0.5),
    max_per_img=20,
)  # fmt: skip


def corner_losses(loss_bbox: dict) -> bool:
    return 'IoU' in loss_bbox['type']


def retina(loss_cls, loss_bbox, num_classes=3, assigner=MAX_IOU, kind='RankRetinaHead', **kw):
    return dict(
        type=kind,
        num_classes=num_classes,
        in_channels=8,
        feat_channels=8,
        stacked_convs=1,
        anchor_generator=dict(
            type='AnchorGenerator', octave_base_scale=3, scales_per_octave=2, ratios=[1.0],
            strides=[8, 16],
        ),
        bbox_coder=CODER,
        reg_decoded_bbox=corner_losses(loss_bbox),
        loss_cls=loss_cls,
        loss_bbox=loss_bbox,
        train_cfg=dict(assigner=assigner, allowed_border=-1, pos_weight=-1, debug=False),
        test_cfg=TEST_CFG,
        **kw,
    )  # fmt: skip


def ssd(loss_cls=None, loss_bbox=None, num_classes=3, kind='RankSSDHead'):
    losses = {} if kind == 'SSDHead' else dict(loss_cls=loss_cls, loss_bbox=loss_bbox)
    return dict(
        type=kind,
        num_classes=num_classes,
        in_channels=(8, 8),
        anchor_generator=dict(
            type='SSDAnchorGenerator', scale_major=False, strides=[8, 16], ratios=([2], [2, 3]),
            min_sizes=[16, 32], max_sizes=[32, 64],
        ),
        bbox_coder=CODER,
        reg_decoded_bbox=bool(loss_bbox) and corner_losses(loss_bbox),
        train_cfg=dict(
            assigner=dict(**MAX_IOU, gt_max_assign_all=False), smoothl1_beta=1.0,
            allowed_border=-1, pos_weight=-1, neg_pos_ratio=3, debug=False,
        ),
        test_cfg=TEST_CFG,
        **losses,
    )  # fmt: skip


def fovea(loss_cls, loss_bbox, num_classes=3, kind='RankFoveaHead'):
    return dict(
        type=kind,
        num_classes=num_classes,
        in_channels=8,
        feat_channels=8,
        stacked_convs=1,
        strides=[8, 16],
        base_edge_list=[16, 32],
        scale_ranges=((4, 40), (24, 120)),
        loss_cls=loss_cls,
        loss_bbox=loss_bbox,
        train_cfg=dict(),
        test_cfg=TEST_CFG,
    )


def rpn(loss_cls, loss_bbox, kind='RankRPNHead'):
    return dict(
        type=kind,
        in_channels=8,
        feat_channels=8,
        anchor_generator=dict(
            type='AnchorGenerator', scales=[3], ratios=[0.5, 1.0, 2.0], strides=[8, 16]
        ),
        bbox_coder=CODER,
        reg_decoded_bbox=corner_losses(loss_bbox),
        loss_cls=loss_cls,
        loss_bbox=loss_bbox,
        train_cfg=dict(
            assigner=dict(
                type='MaxIoUAssigner', pos_iou_thr=0.7, neg_iou_thr=0.3, min_pos_iou=0.3
            ),
            allowed_border=-1, pos_weight=-1, debug=False,
        ),
        test_cfg=dict(
            nms_pre=100, max_per_img=20, nms=dict(type='nms', iou_threshold=0.7), min_bbox_size=0
        ),
    )  # fmt: skip


DENSE = {'retina': retina, 'ssd': ssd, 'fovea': fovea, 'rpn': rpn}


def build(config: dict, seed: int = 0):
    torch.manual_seed(seed)
    head = MODELS.build(ConfigDict(config))
    head.init_weights()
    return head


def features(images: int = 2, seed: int = 1, size: int = SIZE):
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(images, 8, size // stride, size // stride, generator=generator)
        for stride in (8, 16)
    ]


def truth(counts=(3, 2), num_classes: int = 3, seed: int = 2, size: int = SIZE):
    """Ground truth with the given number of objects per image, and the images' meta data."""
    rng = np.random.default_rng(seed)
    instances = []
    for count in counts:
        corner = rng.uniform(0, size - 50, (count, 2))
        side = rng.uniform(18, 48, (count, 2))
        boxes = torch.tensor(np.hstack([corner, corner + side]), dtype=torch.float32)
        labels = torch.tensor(rng.integers(0, num_classes, count), dtype=torch.long)
        instances.append(InstanceData(bboxes=boxes.reshape(-1, 4), labels=labels))
    meta = dict(img_shape=(size, size), pad_shape=(size, size), scale_factor=(1.0, 1.0))
    return instances, [meta] * len(counts)


def total(losses: dict) -> torch.Tensor:
    """Sum of what a head returned, whether scalars or lists over levels."""
    values = []
    for value in losses.values():
        values += value if isinstance(value, (list, tuple)) else [value]
    return sum(value.sum() for value in values)


def bbox_head(loss_cls, loss_bbox, num_classes=3, agnostic=False, kind='RankShared2FCBBoxHead'):
    return dict(
        type=kind,
        in_channels=4,
        fc_out_channels=16,
        roi_feat_size=3,
        num_classes=num_classes,
        bbox_coder=CODER,
        reg_class_agnostic=agnostic,
        reg_decoded_bbox=corner_losses(loss_bbox),
        loss_cls=loss_cls,
        loss_bbox=loss_bbox,
    )
