# Focal loss with gamma 2 and alpha 0.25.
_base_ = '_base_/retinanet.py'

model = dict(
    bbox_head=dict(
        loss_cls=dict(type='FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0)
    )
)
optim_wrapper = dict(optimizer=dict(lr=0.003))
