# Focal loss with gamma 1, which the paper prints as much better than 2 for SSD (Table 2). Batch 2
# x 8, learning rate 0.001, 160 epochs (110, 140): printed for all losses. Everything but the
# classification loss is as in the config of AP Loss.
_base_ = './ssd512_vgg16_ap-loss_2xb8-160e_voc0712-512.py'

model = dict(
    bbox_head=dict(
        loss_cls=dict(_delete_=True, type='FocalLoss', use_sigmoid=True, gamma=1.0, alpha=0.25)
    )
)
