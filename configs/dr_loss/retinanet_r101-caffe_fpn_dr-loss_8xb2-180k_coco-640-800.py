# DR Loss, 2x with ResNet-101 (Table 4): short side drawn from 640 to 800, tested at 800 or, with
# --tta, at several scales. Batch 8 x 2, learning rate 0.01, 180,000 iterations: printed; steps at
# 120,000 and 160,000, score threshold: released.
_base_ = [
    '../_base_/models/retinanet_r50-caffe_fpn_dr-loss.py',
    '../_base_/datasets/coco_jitter-640-800.py',
    '../_base_/schedules/dr-loss_90k.py',
    '../_base_/iteration_runtime.py',
    '../_base_/testing/multi-scale_dr.py',  # for tools/test.py --tta
]
model = dict(
    data_preprocessor=_base_.data_preprocessor,
    backbone=dict(depth=101, init_cfg=dict(checkpoint='open-mmlab://detectron/resnet101_caffe')),
    test_cfg=dict(score_thr=0.1),
)
param_scheduler = [
    _base_.warm_up,
    dict(type='MultiStepLR', by_epoch=False, milestones=[120000, 160000], gamma=0.1),
]
train_cfg = dict(max_iters=180000)
