# aLRP Loss with GIoU; self-balancing every eighth of the 500 iterations.
_base_ = '_base_/ssd.py'

model = dict(
    bbox_head=dict(
        reg_decoded_bbox=True,
        loss_cls=dict(type='aLRPLoss'),
        loss_bbox=dict(type='GIoULoss'),
    )
)
custom_hooks = [dict(type='SelfBalanceHook', by_epoch=False, interval=62)]
optim_wrapper = dict(optimizer=dict(lr=0.01))
