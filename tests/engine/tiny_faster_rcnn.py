# A Faster R-CNN that is small enough for tests, both stages trained by aLRP Loss without sampling.
_base_ = './tiny_config.py'

coder = dict(type='DeltaXYWHBBoxCoder', target_means=[0.0] * 4, target_stds=[0.1, 0.1, 0.2, 0.2])
rpn_assigner = dict(
    type='MaxIoUAssigner', pos_iou_thr=0.7, neg_iou_thr=0.3, min_pos_iou=0.3, ignore_iof_thr=-1
)
rcnn_assigner = dict(
    type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0.5,
    match_low_quality=False, ignore_iof_thr=-1,
)  # fmt: skip
rpn_proposal = dict(
    nms_pre=200, max_per_img=60, nms=dict(type='nms', iou_threshold=0.7), min_bbox_size=0
)
model = dict(
    _delete_=True,
    type='FasterRCNN',
    data_preprocessor=dict(
        type='DetDataPreprocessor', mean=[127.5] * 3, std=[64.0] * 3, pad_size_divisor=16
    ),
    backbone=dict(
        type='ResNet',
        depth=18,
        base_channels=8,
        num_stages=2,
        strides=(1, 2),
        dilations=(1, 1),
        out_indices=(0, 1),
        norm_cfg=dict(type='BN', requires_grad=True),
        norm_eval=True,
        style='pytorch',
    ),
    neck=dict(type='FPN', in_channels=[8, 16], out_channels=16, num_outs=3),
    rpn_head=dict(
        type='RankRPNHead',
        in_channels=16,
        feat_channels=16,
        anchor_generator=dict(
            type='AnchorGenerator', scales=[4], ratios=[0.5, 1.0, 2.0], strides=[4, 8, 16]
        ),
        bbox_coder=coder,
        reg_decoded_bbox=True,
        loss_cls=dict(type='aLRPLoss', tau=0.7, loss_weight=0.2),
        loss_bbox=dict(type='GIoULoss'),
    ),
    roi_head=dict(
        type='StandardRoIHead',
        bbox_roi_extractor=dict(
            type='SingleRoIExtractor',
            roi_layer=dict(type='RoIAlign', output_size=5, sampling_ratio=0),
            out_channels=16,
            featmap_strides=[4, 8],
        ),
        bbox_head=dict(
            type='RankShared2FCBBoxHead',
            in_channels=16,
            fc_out_channels=32,
            roi_feat_size=5,
            num_classes=10,
            bbox_coder=coder,
            reg_class_agnostic=False,
            reg_decoded_bbox=True,
            loss_cls=dict(type='aLRPLoss'),
            loss_bbox=dict(type='GIoULoss'),
        ),
    ),
    train_cfg=dict(
        rpn=dict(
            assigner=rpn_assigner, sampler=dict(type='PseudoSampler'),
            allowed_border=-1, pos_weight=-1, debug=False,
        ),
        rpn_proposal=rpn_proposal,
        rcnn=dict(
            assigner=rcnn_assigner, sampler=dict(type='PseudoSampler'), pos_weight=-1, debug=False
        ),
    ),
    test_cfg=dict(
        rpn=rpn_proposal,
        rcnn=dict(score_thr=0.0, nms=dict(type='nms', iou_threshold=0.5), max_per_img=30),
    ),
)  # fmt: skip
