# RetinaNet trained by aLRP Loss: both branches by one loss, whose localisation part is balanced
# epoch by epoch, 50 in the first; GIoU as printed. 2 scales x 3 ratios, box deltas and IoU 0.5 /
# 0.4 as released, where boxes are decoded before they are compared. Backbone of torchvision's
# kind.
_base_ = ['mmdet::_base_/models/retinanet_r50_fpn.py', '../testing/detections.py']

model = dict(
    bbox_head=dict(
        type='RankRetinaHead',
        anchor_generator=dict(scales_per_octave=2),
        bbox_coder=dict(target_stds=[0.1, 0.1, 0.2, 0.2]),
        reg_decoded_bbox=True,
        loss_cls=dict(_delete_=True, type='aLRPLoss', self_balance=True, loc_weight=50.0),
        loss_bbox=dict(_delete_=True, type='GIoULoss'),
    ),
    test_cfg=_base_.detections,
)
custom_hooks = [dict(type='SelfBalanceHook')]
