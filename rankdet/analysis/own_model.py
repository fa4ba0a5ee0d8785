"""Detectors for a user's own data: what the objects and the number of classes ask for."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

BASE_BATCH = 8  # images that the learning rates below are meant for
STRIDES = (8, 16, 32, 64, 128)
_STDS = dict(target_means=[0.0] * 4, target_stds=[0.1, 0.1, 0.2, 0.2])


@dataclass(frozen=True)
class Backbone:
    """A backbone, the width of what stands on it, and what suits its training.

    Attributes:
        channels: of strides 8, 16 and 32.
        width: channels of neck and heads.
        weights: pretrained weights; None where there are none.
        image_size: longer side of images.
        iterations: how long a first training is.
        lr: learning rate for ``BASE_BATCH`` images.
    """

    channels: tuple[int, int, int]
    width: int
    weights: str | None
    image_size: int
    iterations: int
    lr: float


BACKBONES = {
    'small': Backbone((64, 128, 256), 48, None, 320, 400, 0.003),
    'r18': Backbone((128, 256, 512), 128, 'torchvision://resnet18', 640, 3000, 0.0005),
    'r50': Backbone((512, 1024, 2048), 256, 'torchvision://resnet50', 800, 6000, 0.0003),
}


def _smooth_l1(beta: float, weight: float = 0.25) -> dict:
    return dict(type='SmoothL1Loss', beta=beta, loss_weight=weight)


_FOCAL = dict(type='FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0)
#: ``loss_cls`` and ``loss_bbox`` of one-stage heads.
DENSE_LOSSES = {
    'ap': (dict(type='APLoss'), _smooth_l1(1.0)),
    'alrp': (dict(type='aLRPLoss'), dict(type='GIoULoss')),
    'dr': (dict(type='DRLoss'), _smooth_l1(0.11)),
    'focal': (_FOCAL, _smooth_l1(1.0)),
}
#: The same of both stages of Faster R-CNN: RPN, then the second stage.
TWO_STAGE_LOSSES = {
    'ap': (
        (dict(type='APLoss', loss_weight=0.2), _smooth_l1(1.0, 0.05)),
        (dict(type='APLoss'), _smooth_l1(1.0)),
    ),
    'alrp': (
        (dict(type='aLRPLoss', tau=0.7, loss_weight=0.2), dict(type='GIoULoss')),
        (dict(type='aLRPLoss'), dict(type='GIoULoss')),
    ),
    'ce': (
        (dict(type='CrossEntropyLoss', use_sigmoid=True), _smooth_l1(0.11, 1.0)),
        (dict(type='CrossEntropyLoss', use_sigmoid=False), _smooth_l1(1.0, 1.0)),
    ),
}
DETECTORS: dict[str, dict[str, tuple]] = {
    'retinanet': DENSE_LOSSES,
    'foveabox': DENSE_LOSSES,
    'faster-rcnn': TWO_STAGE_LOSSES,
}
LOSSES = tuple(dict.fromkeys(loss for losses in DETECTORS.values() for loss in losses))


@dataclass(frozen=True)
class Anchors:
    """What the heads look for, from the sizes and shapes that objects have.

    Attributes:
        scale: smallest anchor over its stride.
        ratios: heights over widths.
        levels: how many maps, with strides 8, 16, ...
        median: median size of objects (square root of their area) in pixels as trained on.
    """

    scale: float
    ratios: tuple[float, ...]
    levels: int
    median: float

    @property
    def strides(self) -> list[int]:
        return list(STRIDES[: self.levels])

    def sizes(self, level: int) -> float:
        """Middle of the octave of sizes that a level is for."""
        return self.scale * STRIDES[level] * math.sqrt(2)


def fit_anchors(boxes: np.ndarray) -> Anchors:
    """Anchors for objects.

    The smallest anchor is near the 5th percentile of sizes, but 8 to 32 pixels; there are as many
    octaves, three to five, as the 95th percentile needs. Shapes of 1:2 and 2:1 are taken where a
    tenth of the objects is nearer to them than to a square.

    Args:
        boxes: ``(n, 2)`` width and height in pixels, as trained on.

    >>> fit_anchors(np.array([[20.0, 20.0], [40.0, 44.0], [90.0, 85.0]]))
    Anchors(scale=2.5, ratios=(1.0,), levels=3, median=41.95...)
    """
    width, height = boxes.T
    sizes = np.sqrt(width * height)
    low, median, high = np.quantile(sizes, (0.05, 0.5, 0.95))
    scale = float(np.clip(round(low / STRIDES[0] * 2) / 2, 1, 4))
    levels = 3
    while levels < len(STRIDES) and high > 2 * scale * STRIDES[levels - 1]:
        levels += 1
    wide, tall = np.quantile(height / width, (0.1, 0.9))
    ratios = [0.5] * bool(wide < 2**-0.5) + [1.0] + [2.0] * bool(tall > 2**0.5)
    return Anchors(scale, tuple(ratios), levels, float(median))


def model(
    detector: str,
    loss: str,
    backbone: Backbone,
    classes: int,
    anchors: Anchors,
    pretrained: bool,
) -> dict:
    """The ``model`` of a config.

    Args:
        detector, loss: keys of ``DETECTORS`` and of its losses.
        backbone: one of ``BACKBONES``.
        classes: number of classes.
        anchors: see :func:`fit_anchors`.
        pretrained: start from the backbone's weights, with its first stage and statistics frozen.
    """
    small = backbone.weights is None
    body = dict(
        type='ResNet',
        depth=50 if backbone.channels[0] == 512 else 18,
        num_stages=4,
        out_indices=(1, 2, 3),
        frozen_stages=1 if pretrained else -1,
        norm_cfg=dict(type='BN', requires_grad=True),
        norm_eval=pretrained,
        style='pytorch',
    )
    if small:
        body |= dict(base_channels=32)
    if pretrained:
        body |= dict(init_cfg=dict(type='Pretrained', checkpoint=backbone.weights))
    neck = dict(
        type='FPN',
        in_channels=list(backbone.channels),
        out_channels=backbone.width,
        num_outs=anchors.levels,
        add_extra_convs='on_output',
    )
    parts = dict(
        data_preprocessor=dict(
            type='DetDataPreprocessor',
            mean=[123.675, 116.28, 103.53],
            std=[58.395, 57.12, 57.375],
            bgr_to_rgb=True,
            pad_size_divisor=32,
        ),
        backbone=body,
        neck=neck,
    )
    own = _faster_rcnn if detector == 'faster-rcnn' else _one_stage
    return parts | own(detector, DETECTORS[detector][loss], backbone.width, classes, anchors, small)


def _one_stage(
    detector: str,
    losses: tuple[dict, dict],
    width: int,
    classes: int,
    anchors: Anchors,
    small: bool,
) -> dict:
    loss_cls, loss_bbox = losses
    levels = range(anchors.levels)
    head = dict(
        type='RankRetinaHead',
        num_classes=classes,
        in_channels=width,
        feat_channels=width,
        stacked_convs=2 if small else 4,
    )
    if small:
        head |= dict(norm_cfg=dict(type='BN', requires_grad=True))
    if detector == 'foveabox':
        ranges = [[anchors.sizes(n) / 2, anchors.sizes(n) * 2] for n in levels]
        ranges[0][0], ranges[-1][1] = 1.0, 1e5
        head |= dict(
            type='RankFoveaHead',
            strides=anchors.strides,
            base_edge_list=[round(anchors.sizes(n)) for n in levels],
            scale_ranges=tuple((round(low), round(high)) for low, high in ranges),
            sigma=0.4,
            with_deform=False,
        )
        kind, train_cfg = 'FOVEA', {}
    else:
        head |= dict(
            anchor_generator=dict(
                type='AnchorGenerator',
                octave_base_scale=anchors.scale,
                scales_per_octave=2,
                ratios=list(anchors.ratios),
                strides=anchors.strides,
            ),
            bbox_coder=dict(type='DeltaXYWHBBoxCoder', **_STDS),
            reg_decoded_bbox=loss_bbox['type'] == 'GIoULoss',
        )
        kind, train_cfg = 'RetinaNet', _assigning(0.5, 0.4, 0.0)
    test_cfg = dict(nms_pre=1000, min_bbox_size=0, **_detections())
    head |= dict(loss_cls=loss_cls, loss_bbox=loss_bbox)
    return dict(type=kind, bbox_head=head, train_cfg=train_cfg, test_cfg=test_cfg)


def _faster_rcnn(
    detector: str, losses: tuple, width: int, classes: int, anchors: Anchors, small: bool
) -> dict:
    (rpn_cls, rpn_bbox), (roi_cls, roi_bbox) = losses
    ranking = rpn_cls['type'] != 'CrossEntropyLoss'
    decoded = dict(reg_decoded_bbox=True) if roi_bbox['type'] == 'GIoULoss' else {}
    rpn_sampler = dict(type='RandomSampler', num=256, pos_fraction=0.5, add_gt_as_proposals=False)
    roi_sampler = dict(type='RandomSampler', num=256, pos_fraction=0.25)
    proposals = dict(
        nms_pre=1000, max_per_img=300, nms=dict(type='nms', iou_threshold=0.7), min_bbox_size=0
    )
    pooled = anchors.strides[:4]
    return dict(
        type='FasterRCNN',
        rpn_head=dict(
            type='RankRPNHead',
            in_channels=width,
            feat_channels=width,
            anchor_generator=dict(
                type='AnchorGenerator',
                scales=[round(anchors.scale * math.sqrt(2), 2)],
                ratios=list(anchors.ratios),
                strides=anchors.strides,
            ),
            bbox_coder=dict(type='DeltaXYWHBBoxCoder', **_STDS),
            loss_cls=rpn_cls,
            loss_bbox=rpn_bbox,
            **decoded,
        ),
        roi_head=dict(
            type='StandardRoIHead',
            bbox_roi_extractor=dict(
                type='SingleRoIExtractor',
                roi_layer=dict(type='RoIAlign', output_size=7, sampling_ratio=2),
                out_channels=width,
                featmap_strides=pooled,
                finest_scale=round(anchors.sizes(0)),
            ),
            bbox_head=dict(
                type='RankShared2FCBBoxHead',
                in_channels=width,
                fc_out_channels=256 if small else 1024,
                roi_feat_size=7,
                num_classes=classes,
                bbox_coder=dict(type='DeltaXYWHBBoxCoder', **_STDS),
                reg_class_agnostic=True,
                loss_cls=roi_cls,
                loss_bbox=roi_bbox,
                **decoded,
            ),
        ),
        train_cfg=dict(
            rpn=_assigning(0.7, 0.3, 0.3) | (dict(sampler=rpn_sampler) if not ranking else {}),
            rpn_proposal=proposals,
            rcnn=_assigning(0.5, 0.5, 0.5) | (dict(sampler=roi_sampler) if not ranking else {}),
        ),
        test_cfg=dict(rpn=dict(proposals), rcnn=_detections()),
    )


def _assigning(positive: float, negative: float, least: float) -> dict:
    return dict(
        # Anchors inside difficult objects and crowds are neither positive nor negative.
        assigner=dict(
            type='MaxIoUAssigner',
            pos_iou_thr=positive,
            neg_iou_thr=negative,
            min_pos_iou=least,
            ignore_iof_thr=0.5,
        ),
        sampler=dict(type='PseudoSampler'),
        allowed_border=-1,
        pos_weight=-1,
        debug=False,
    )


def _detections() -> dict:
    return dict(score_thr=0.01, nms=dict(type='nms', iou_threshold=0.5), max_per_img=100)
