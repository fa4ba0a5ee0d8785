# FoveaBox trained by AP Loss and Smooth L1 (Table 7): trained at 512 x 512, tested at short side
# 500. Batch 4 x 8, 100 epochs: printed; learning rate 0.002, steps at 75 and 95, the box loss
# (beta 0.11, divided by 4 |P|, hence 0.25): released.
_base_ = [
    '../_base_/models/foveabox_r50_fpn.py',
    '../_base_/datasets/coco_ssd-512_test-500_torchvision.py',
    '../_base_/schedules/alrp-loss_100e-late.py',
    '../_base_/default_runtime.py',
]
model = dict(
    data_preprocessor=_base_.data_preprocessor,
    bbox_head=dict(loss_cls=dict(type='APLoss', delta=1.0), loss_bbox=dict(loss_weight=0.25)),
)
optim_wrapper = dict(optimizer=dict(lr=0.002))
