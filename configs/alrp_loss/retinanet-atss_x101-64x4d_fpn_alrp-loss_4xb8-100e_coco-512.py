# aLRP Loss 500 with ResNeXt-101 64x4d (Table 6).
# Batch 4 x 8, learning rate 0.008, 100 epochs (75, 95): printed.
_base_ = './retinanet-atss_r50_fpn_alrp-loss_4xb8-100e_coco-512.py'

model = dict(
    backbone=dict(
        type='ResNeXt',
        depth=101,
        groups=64,
        base_width=4,
        init_cfg=dict(checkpoint='open-mmlab://resnext101_64x4d'),
    )
)
