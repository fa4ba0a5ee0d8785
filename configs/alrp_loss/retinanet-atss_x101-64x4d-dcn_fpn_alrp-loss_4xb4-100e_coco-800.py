# aLRP Loss 800 with ResNeXt-101 64x4d and deformable convolutions (Table 6; several scales:
# --tta). Batch 4 x 4, learning rate 0.004, 100 epochs (60, 80): printed. DCNv2 in the last three
# stages: released.
_base_ = './retinanet-atss_x101-64x4d_fpn_alrp-loss_4xb4-100e_coco-800.py'

model = dict(
    backbone=dict(
        dcn=dict(type='DCNv2', deform_groups=1, fallback_on_stride=False),
        stage_with_dcn=(False, True, True, True),
    )
)
