# AP Loss, the baseline of aLRP Loss (Table 2), in its setting: trained at 512 x 512, tested at
# 500. Batch 4 x 8, 100 epochs (60, 80): printed. Learning rate 0.002, anchors, box deltas and the
# box loss (divided by 4 |P|, hence 0.25): released.
_base_ = [
    'mmdet::_base_/models/retinanet_r50_fpn.py',
    '../_base_/datasets/coco_ssd-512_test-500_torchvision.py',
    '../_base_/schedules/alrp-loss_100e.py',
    '../_base_/default_runtime.py',
]
model = dict(
    data_preprocessor=_base_.data_preprocessor,
    bbox_head=dict(
        type='RankRetinaHead',
        anchor_generator=dict(scales_per_octave=2),
        bbox_coder=dict(target_stds=[0.1, 0.1, 0.2, 0.2]),
        loss_cls=dict(_delete_=True, type='APLoss', delta=1.0),
        loss_bbox=dict(_delete_=True, type='SmoothL1Loss', beta=1.0, loss_weight=0.25),
    ),
)
optim_wrapper = dict(optimizer=dict(lr=0.002))
