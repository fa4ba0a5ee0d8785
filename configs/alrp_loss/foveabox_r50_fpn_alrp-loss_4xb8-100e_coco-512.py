# FoveaBox trained by aLRP Loss (Table 7): trained at 512 x 512, tested at short side 500. Batch 4
# x 8, learning rate 0.008, 100 epochs: printed; steps at 75 and 95: released. IoU errors need
# decoded boxes, which the head takes with a loss on corners.
_base_ = [
    '../_base_/models/foveabox_r50_fpn.py',
    '../_base_/datasets/coco_ssd-512_test-500_torchvision.py',
    '../_base_/schedules/alrp-loss_100e-late.py',
    '../_base_/default_runtime.py',
]
model = dict(
    data_preprocessor=_base_.data_preprocessor,
    bbox_head=dict(
        loss_cls=dict(type='aLRPLoss', self_balance=True, loc_weight=50.0),
        loss_bbox=dict(_delete_=True, type='GIoULoss'),
    ),
)
custom_hooks = [dict(type='SelfBalanceHook')]
