# AP-loss500 on COCO (Table 6): trained at 512 x 512, tested at short side 500.
# Batch 2 x 8, learning rate 0.001, 100 epochs (60, 80): printed. Warm-up, assignment, the box
# loss and the longest side in testing: released.
_base_ = [
    '../_base_/models/retinanet_r50-caffe_fpn_ap-loss.py',
    '../_base_/datasets/coco_ssd-512_test-500_caffe.py',
    '../_base_/schedules/ap-loss_100e.py',
    '../_base_/default_runtime.py',
    '../_base_/testing/multi-scale_ap-500.py',  # for tools/test.py --tta
]
model = dict(
    data_preprocessor=_base_.data_preprocessor,
    backbone=dict(depth=101, init_cfg=dict(checkpoint='open-mmlab://detectron/resnet101_caffe')),
)
