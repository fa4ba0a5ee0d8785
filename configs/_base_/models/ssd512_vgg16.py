# SSD512 for VOC, as MMDetection has it, with a head that takes any loss. Anchors and layers are
# those of the SSD paper; the box loss is that of RetinaNet in the AP Loss tables ("other details
# are similar"). A config adds data_preprocessor and loss_cls.
_base_ = ['mmdet::_base_/models/ssd300.py', '../testing/detections.py']

model = dict(
    neck=dict(
        out_channels=(512, 1024, 512, 256, 256, 256, 256),
        level_strides=(2, 2, 2, 2, 1),
        level_paddings=(1, 1, 1, 1, 1),
        last_kernel_size=4,
    ),
    bbox_head=dict(
        type='RankSSDHead',
        num_classes=20,
        in_channels=(512, 1024, 512, 256, 256, 256, 256),
        anchor_generator=dict(
            input_size=512,
            basesize_ratio_range=(0.15, 0.9),
            strides=[8, 16, 32, 64, 128, 256, 512],
            ratios=[[2], [2, 3], [2, 3], [2, 3], [2, 3], [2], [2]],
        ),
        loss_bbox=dict(type='SmoothL1Loss', beta=1.0, loss_weight=0.25),
    ),
    test_cfg=dict(_base_.detections, score_thr=0.01),
)
