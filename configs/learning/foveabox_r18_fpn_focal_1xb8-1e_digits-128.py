# Focal loss with gamma 1.5 and alpha 0.4.
_base_ = '_base_/foveabox.py'

model = dict(
    bbox_head=dict(
        loss_cls=dict(type='FocalLoss', use_sigmoid=True, gamma=1.5, alpha=0.4, loss_weight=1.0),
        loss_bbox=dict(type='SmoothL1Loss', beta=0.11, loss_weight=1.0),
    )
)
optim_wrapper = dict(optimizer=dict(lr=0.001))
