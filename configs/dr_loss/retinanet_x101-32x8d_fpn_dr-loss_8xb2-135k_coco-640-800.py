# DR Loss, 1.5x with ResNeXt-101 32x8d (Table 4): jitter and testing as with ResNet-101. Batch 8 x
# 2, learning rate 0.01, 135,000 iterations: printed. Steps at 90,000 and 120,000 are given
# nowhere; they are those of 1x, 1.5 times. The weights (of Caffe2) want their own mean and
# deviation.
_base_ = './retinanet_r101-caffe_fpn_dr-loss_8xb2-180k_coco-640-800.py'

data_preprocessor = dict(mean=[103.530, 116.280, 123.675], std=[57.375, 57.120, 58.395])
model = dict(
    data_preprocessor=data_preprocessor,
    backbone=dict(
        type='ResNeXt',
        groups=32,
        base_width=8,
        style='pytorch',
        init_cfg=dict(checkpoint='open-mmlab://detectron2/resnext101_32x8d'),
    ),
)
param_scheduler = [
    _base_.warm_up,
    dict(type='MultiStepLR', by_epoch=False, milestones=[90000, 120000], gamma=0.1),
]
train_cfg = dict(max_iters=135000, val_interval=15000)
