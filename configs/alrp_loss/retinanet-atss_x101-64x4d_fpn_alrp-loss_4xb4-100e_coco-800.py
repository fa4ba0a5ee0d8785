# aLRP Loss 800 with ResNeXt-101 64x4d (Table 6).
# Batch 4 x 4, learning rate 0.004, 100 epochs (60, 80): printed.
_base_ = './retinanet-atss_r101_fpn_alrp-loss_4xb4-100e_coco-800.py'

model = dict(
    backbone=dict(
        type='ResNeXt',
        depth=101,
        groups=64,
        base_width=4,
        init_cfg=dict(checkpoint='open-mmlab://resnext101_64x4d'),
    )
)
