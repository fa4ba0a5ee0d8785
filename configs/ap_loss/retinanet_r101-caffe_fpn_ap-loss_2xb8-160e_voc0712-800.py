# AP-loss800 on VOC2007 test (Table 4): trained at 800 x 800, tested at short side 800.
# Batch 2 x 8, learning rate 0.001, 160 epochs (110, 140): printed. Warm-up, assignment, the box
# loss and the longest side in testing: released.
_base_ = [
    '../_base_/models/retinanet_r50-caffe_fpn_ap-loss.py',
    '../_base_/datasets/voc0712_ssd-800_test-800_caffe.py',
    '../_base_/schedules/ap-loss_160e.py',
    '../_base_/default_runtime.py',
]
model = dict(
    data_preprocessor=_base_.data_preprocessor,
    backbone=dict(depth=101, init_cfg=dict(checkpoint='open-mmlab://detectron/resnet101_caffe')),
    bbox_head=dict(num_classes=20),
)
