# Faster R-CNN as MMDetection has it, cross-entropy and L1 (Table 8): 512 x 512, tested at 500.
# Batch 4 x 8, 100 epochs: printed; learning rate 0.04, steps at 75 and 95: released.
_base_ = [
    'mmdet::_base_/models/faster-rcnn_r50_fpn.py',
    '../_base_/datasets/coco_ssd-512_test-500_torchvision.py',
    '../_base_/schedules/alrp-loss_100e-late.py',
    '../_base_/default_runtime.py',
]
model = dict(
    data_preprocessor=_base_.data_preprocessor,
    rpn_head=dict(bbox_coder=dict(target_stds=[0.1, 0.1, 0.2, 0.2])),
)
optim_wrapper = dict(optimizer=dict(lr=0.04))
