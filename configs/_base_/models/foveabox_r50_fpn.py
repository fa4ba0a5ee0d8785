# FoveaBox as MMDetection has it, with a head that ranks or not, as its loss asks; the host keeps no
# model file for it. A config adds data_preprocessor and loss_cls.
_base_ = ['mmdet::_base_/models/retinanet_r50_fpn.py', '../testing/detections.py']

model = dict(
    type='FOVEA',
    bbox_head=dict(
        _delete_=True,
        type='RankFoveaHead',
        num_classes=80,
        in_channels=256,
        stacked_convs=4,
        feat_channels=256,
        strides=[8, 16, 32, 64, 128],
        base_edge_list=[16, 32, 64, 128, 256],
        scale_ranges=((1, 64), (32, 128), (64, 256), (128, 512), (256, 2048)),
        sigma=0.4,
        with_deform=False,
        loss_bbox=dict(type='SmoothL1Loss', beta=0.11, loss_weight=1.0),
    ),
    train_cfg=dict(_delete_=True),
    test_cfg=_base_.detections,
)
