# aLRP Loss 800 with ResNet-101 (Table 6): trained at 800 x 800, tested at short side 800. Batch 4
# x 4, learning rate 0.004, 100 epochs (60, 80): printed. Anchors (3 scales, 1 ratio): released.
_base_ = [
    '../_base_/models/retinanet-atss_r50_fpn_alrp-loss.py',
    '../_base_/datasets/coco_ssd-800_test-800_torchvision.py',
    '../_base_/schedules/alrp-loss_100e.py',
    '../_base_/default_runtime.py',
    '../_base_/testing/multi-scale_alrp-800.py',  # for tools/test.py --tta
]
model = dict(
    data_preprocessor=_base_.data_preprocessor,
    backbone=dict(depth=101, init_cfg=dict(checkpoint='torchvision://resnet101')),
    bbox_head=dict(anchor_generator=dict(scales_per_octave=3)),
)
optim_wrapper = dict(optimizer=dict(lr=0.004))
auto_scale_lr = dict(base_batch_size=16)
