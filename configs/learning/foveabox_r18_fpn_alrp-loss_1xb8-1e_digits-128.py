# aLRP Loss with GIoU on decoded boxes; self-balancing every eighth of the 500 iterations.
_base_ = '_base_/foveabox.py'

model = dict(
    bbox_head=dict(
        loss_cls=dict(type='aLRPLoss'),
        loss_bbox=dict(_delete_=True, type='GIoULoss'),
    )
)
custom_hooks = [dict(type='SelfBalanceHook', by_epoch=False, interval=62)]
optim_wrapper = dict(optimizer=dict(lr=0.003))
