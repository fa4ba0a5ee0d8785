"""Whole detectors of a few thousand weights, and batches for them. Not a test itself."""

from __future__ import annotations

import torch
from builders import ATSS, MAX_IOU, SIZE, bbox_head, build, fovea, retina, rpn, ssd, truth
from mmdet.structures import DetDataSample
from mmengine.registry import DefaultScope

PREPROCESSOR = dict(type='DetDataPreprocessor', mean=[0.0] * 3, std=[1.0] * 3, pad_size_divisor=16)
NECK = dict(type='FPN', in_channels=[16, 32], out_channels=8, num_outs=2)
BACKBONE = dict(
    type='ResNet', depth=18, base_channels=8, num_stages=3, strides=(1, 2, 2), dilations=(1, 1, 1),
    out_indices=(1, 2), norm_cfg=dict(type='BN', requires_grad=True), norm_eval=True,
    style='pytorch',
)  # fmt: skip
PROPOSALS = dict(
    nms_pre=100, max_per_img=40, nms=dict(type='nms', iou_threshold=0.7), min_bbox_size=0
)


def one_stage(kind, head):
    own = {key: head.pop(key) for key in ('train_cfg', 'test_cfg')}  # the detector hands them on
    return dict(type=kind, data_preprocessor=PREPROCESSOR, backbone=BACKBONE, neck=NECK,
                bbox_head=head, **own)  # fmt: skip


def faster_rcnn(loss_cls, loss_bbox, rpn_cls=None):
    """Both stages with the same losses and without sampling, the RPN at a fifth of its weight."""
    rpn_cls = rpn_cls or dict(loss_cls, loss_weight=0.2)
    if rpn_cls['type'] == 'aLRPLoss':
        rpn_cls = dict(rpn_cls, tau=0.7)
    first, second = rpn(rpn_cls, loss_bbox), bbox_head(loss_cls, loss_bbox)
    rpn_train, rpn_test = first.pop('train_cfg'), first.pop('test_cfg')
    second['in_channels'] = 8
    extractor = dict(
        type='SingleRoIExtractor', out_channels=8, featmap_strides=[8, 16],
        roi_layer=dict(type='RoIAlign', output_size=3, sampling_ratio=2),
    )  # fmt: skip
    assigner = dict(
        MAX_IOU, neg_iou_thr=0.5, min_pos_iou=0.5, match_low_quality=False, ignore_iof_thr=-1
    )
    sampler = dict(type='PseudoSampler')
    return dict(
        type='FasterRCNN',
        data_preprocessor=PREPROCESSOR,
        backbone=BACKBONE,
        neck=NECK,
        rpn_head=first,
        roi_head=dict(
            type='StandardRoIHead', bbox_roi_extractor=extractor, bbox_head=second
        ),
        train_cfg=dict(
            rpn=dict(rpn_train, sampler=sampler),
            rpn_proposal=PROPOSALS,
            rcnn=dict(assigner=assigner, sampler=sampler, pos_weight=-1, debug=False),
        ),
        test_cfg=dict(
            rpn=rpn_test,
            rcnn=dict(score_thr=0.0, nms=dict(type='nms', iou_threshold=0.5), max_per_img=20),
        ),
    )  # fmt: skip


# name: a detector's config from its losses
DETECTORS = {
    'retinanet': lambda cls, box: one_stage('RetinaNet', retina(cls, box)),
    'retinanet-atss': lambda cls, box: one_stage('RetinaNet', retina(cls, box, assigner=ATSS)),
    'ssd': lambda cls, box: one_stage('SingleStageDetector', ssd(cls, box)),
    'foveabox': lambda cls, box: one_stage('FOVEA', fovea(cls, box)),
    'faster-rcnn': faster_rcnn,
}


def build_detector(name: str, *losses):
    """The same weights whatever the loss; scores that differ from anchor to anchor."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        detector = build(DETECTORS[name](*losses))
    generator = torch.Generator().manual_seed(3)
    for key, weight in detector.named_parameters():
        if weight.ndim > 1 and not key.startswith('backbone'):
            spread = 0.3 / weight[0].numel() ** 0.5
            weight.data += spread * torch.randn(weight.shape, generator=generator)
    return detector.train()


def batch(counts, seed: int = 5) -> dict:
    """Images with the given numbers of objects, as a data loader hands them over."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 255, (len(counts), 3, SIZE, SIZE), generator=generator)
    samples = []
    for instances, meta in zip(*truth(counts)):
        sample = DetDataSample(metainfo=dict(meta, ori_shape=meta['img_shape']))
        sample.gt_instances = instances
        samples.append(sample)
    return dict(inputs=list(images.float() / 64 - 2), data_samples=samples)


def share(data: dict, images: slice) -> dict:
    """The part of a batch that one process sees."""
    return {key: values[images] for key, values in data.items()}
