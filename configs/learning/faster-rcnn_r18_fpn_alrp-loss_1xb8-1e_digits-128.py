# aLRP Loss in both stages, without sampling; RPN weight 0.2, tau 0.7. Self-balancing every eighth
# of the 500 iterations.
_base_ = '_base_/faster-rcnn.py'

model = dict(
    rpn_head=dict(
        reg_decoded_bbox=True,
        loss_cls=dict(_delete_=True, type='aLRPLoss', tau=0.7, loss_weight=0.2),
        loss_bbox=dict(_delete_=True, type='GIoULoss'),
    ),
    roi_head=dict(
        bbox_head=dict(
            reg_decoded_bbox=True,
            loss_cls=dict(_delete_=True, type='aLRPLoss'),
            loss_bbox=dict(_delete_=True, type='GIoULoss'),
        )
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(_delete_=True, type='PseudoSampler')),
        rcnn=dict(sampler=dict(_delete_=True, type='PseudoSampler')),
    ),
)
custom_hooks = [dict(type='SelfBalanceHook', by_epoch=False, interval=62)]
optim_wrapper = dict(optimizer=dict(lr=0.003))
