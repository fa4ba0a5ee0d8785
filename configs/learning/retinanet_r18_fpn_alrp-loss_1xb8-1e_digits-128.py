# aLRP Loss with GIoU; self-balancing every eighth of the 500 iterations, since there is one epoch.
_base_ = '_base_/retinanet.py'

model = dict(
    bbox_head=dict(
        reg_decoded_bbox=True,
        loss_cls=dict(type='aLRPLoss'),
        loss_bbox=dict(_delete_=True, type='GIoULoss'),
    )
)
custom_hooks = [dict(type='SelfBalanceHook', by_epoch=False, interval=62)]
optim_wrapper = dict(optimizer=dict(lr=0.01))
