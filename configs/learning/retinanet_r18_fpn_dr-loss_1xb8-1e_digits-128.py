# DR Loss.
_base_ = '_base_/retinanet.py'

model = dict(
    bbox_head=dict(
        loss_cls=dict(type='DRLoss'),
        loss_bbox=dict(type='SmoothL1Loss', beta=0.11, loss_weight=0.25),
    )
)
optim_wrapper = dict(optimizer=dict(lr=0.003))
