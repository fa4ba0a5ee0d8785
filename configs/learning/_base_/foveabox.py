# FoveaBox: no anchors, one object size a level; leaf configs choose the losses.
_base_ = ['schedule.py', 'backbone_r18-narrow.py']

model = dict(
    type='FOVEA',
    bbox_head=dict(
        type='RankFoveaHead',
        num_classes=10,
        in_channels=32,
        feat_channels=32,
        stacked_convs=2,
        norm_cfg=dict(type='BN', requires_grad=True),
        strides=[4, 8, 16],
        base_edge_list=[12, 24, 48],
        scale_ranges=((6, 20), (14, 40), (28, 96)),
        sigma=0.4,
        with_deform=False,
        loss_bbox=dict(type='SmoothL1Loss', beta=0.11, loss_weight=0.25),
    ),
    train_cfg=dict(),
    test_cfg=dict(
        nms_pre=1000,
        min_bbox_size=0,
        score_thr=0.01,
        nms=dict(type='nms', iou_threshold=0.5),
        max_per_img=100,
    ),
)
