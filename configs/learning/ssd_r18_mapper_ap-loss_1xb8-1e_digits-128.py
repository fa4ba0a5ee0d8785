# AP Loss.
_base_ = '_base_/ssd.py'

model = dict(
    bbox_head=dict(
        loss_cls=dict(type='APLoss'),
        loss_bbox=dict(type='SmoothL1Loss', beta=1.0, loss_weight=0.25),
    )
)
optim_wrapper = dict(optimizer=dict(lr=0.01))
