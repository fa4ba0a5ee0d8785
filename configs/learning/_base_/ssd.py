# SSD's head on three stages of the backbone, without a top-down path; leaf configs choose losses.
_base_ = ['schedule.py', 'backbone_r18-narrow.py']

model = dict(
    type='SingleStageDetector',
    neck=dict(
        _delete_=True,
        type='ChannelMapper',
        in_channels=[32, 64, 128],
        out_channels=64,
        kernel_size=3,
        norm_cfg=dict(type='BN', requires_grad=True),
    ),
    bbox_head=dict(
        type='RankSSDHead',
        num_classes=10,
        in_channels=(64, 64, 64),
        anchor_generator=dict(
            type='SSDAnchorGenerator',
            scale_major=False,
            strides=[4, 8, 16],
            ratios=([2], [2], [2]),
            min_sizes=[10, 20, 40],
            max_sizes=[20, 40, 64],
        ),
        bbox_coder=dict(
            type='DeltaXYWHBBoxCoder',
            target_means=[0.0, 0.0, 0.0, 0.0],
            target_stds=[0.1, 0.1, 0.2, 0.2],
        ),
    ),
    train_cfg=dict(
        assigner=dict(
            type='MaxIoUAssigner',
            pos_iou_thr=0.5,
            neg_iou_thr=0.5,
            min_pos_iou=0.0,
            gt_max_assign_all=False,
        ),
        sampler=dict(type='PseudoSampler'),
        smoothl1_beta=1.0,
        allowed_border=-1,
        pos_weight=-1,
        neg_pos_ratio=3,
        debug=False,
    ),
    test_cfg=dict(
        nms_pre=1000,
        min_bbox_size=0,
        score_thr=0.01,
        nms=dict(type='nms', iou_threshold=0.5),
        max_per_img=100,
    ),
)
