# DR Loss on VOC2007 (Table 7): short side 800 in training and testing. Learning rate 0.008, 8,750
# iterations, divided by 10 at 6,250: printed. Batch 8 x 2: printed for COCO, "other settings are
# the same". By the paper's own rule 0.008 would suit about 8 images: for that,
# train_dataloader.batch_size=1.
_base_ = [
    '../_base_/models/retinanet_r50-caffe_fpn_dr-loss.py',
    '../_base_/datasets/voc07_flip-800.py',
    '../_base_/schedules/dr-loss_90k.py',
    '../_base_/iteration_runtime.py',
]
model = dict(data_preprocessor=_base_.data_preprocessor, bbox_head=dict(num_classes=20))
optim_wrapper = dict(optimizer=dict(lr=0.008))
param_scheduler = [
    _base_.warm_up,
    dict(type='MultiStepLR', by_epoch=False, milestones=[6250], gamma=0.1),
]
train_cfg = dict(max_iters=8750, val_interval=1250)
default_hooks = dict(checkpoint=dict(interval=1250))
