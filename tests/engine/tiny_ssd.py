# SSD with VGG-16 at full width and 300 pixels, which its last levels need.
_base_ = './tiny_config.py'

input_size = 300
model = dict(
    _delete_=True,
    type='SingleStageDetector',
    data_preprocessor=dict(
        type='DetDataPreprocessor', mean=[127.5] * 3, std=[64.0] * 3, pad_size_divisor=1
    ),
    backbone=dict(
        type='SSDVGG', depth=16, with_last_pool=False, ceil_mode=True,
        out_indices=(3, 4), out_feature_indices=(22, 34),
    ),
    neck=dict(
        type='SSDNeck', in_channels=(512, 1024), out_channels=(512, 1024, 512, 256, 256, 256),
        level_strides=(2, 2, 1, 1), level_paddings=(1, 1, 0, 0), l2_norm_scale=20,
    ),
    bbox_head=dict(
        type='RankSSDHead',
        in_channels=(512, 1024, 512, 256, 256, 256),
        num_classes=10,
        anchor_generator=dict(
            type='SSDAnchorGenerator', scale_major=False, input_size=input_size,
            basesize_ratio_range=(0.15, 0.9), strides=[8, 16, 32, 64, 100, 300],
            ratios=[[2], [2, 3], [2, 3], [2, 3], [2], [2]],
        ),
        bbox_coder=dict(
            type='DeltaXYWHBBoxCoder', target_means=[0.0] * 4, target_stds=[0.1, 0.1, 0.2, 0.2]
        ),
        reg_decoded_bbox=True,
        loss_cls=dict(type='aLRPLoss'),
        loss_bbox=dict(type='GIoULoss'),
    ),
    train_cfg=dict(
        assigner=dict(
            type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0.0,
            ignore_iof_thr=-1, gt_max_assign_all=False,
        ),
        sampler=dict(type='PseudoSampler'),
        smoothl1_beta=1.0, allowed_border=-1, pos_weight=-1, neg_pos_ratio=3, debug=False,
    ),
    test_cfg=dict(
        nms_pre=200, min_bbox_size=0, score_thr=0.0, nms=dict(type='nms', iou_threshold=0.45),
        max_per_img=30,
    ),
)  # fmt: skip
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.001),  # no momentum: a checkpoint of half the size
    clip_grad=dict(max_norm=10.0),
)
