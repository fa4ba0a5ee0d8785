# aLRP Loss 500 with ResNet-101 (Table 6).
# Batch 4 x 8, learning rate 0.008, 100 epochs (75, 95): printed.
_base_ = './retinanet-atss_r50_fpn_alrp-loss_4xb8-100e_coco-512.py'

model = dict(backbone=dict(depth=101, init_cfg=dict(checkpoint='torchvision://resnet101')))
