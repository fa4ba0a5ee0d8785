# AP Loss in both stages, without sampling; RPN weight 0.2 as in the aLRP paper.
_base_ = '_base_/faster-rcnn.py'

model = dict(
    rpn_head=dict(
        loss_cls=dict(_delete_=True, type='APLoss', loss_weight=0.2),
        loss_bbox=dict(type='SmoothL1Loss', beta=1.0, loss_weight=0.05),
    ),
    roi_head=dict(
        bbox_head=dict(
            loss_cls=dict(_delete_=True, type='APLoss'),
            loss_bbox=dict(type='SmoothL1Loss', beta=1.0, loss_weight=0.25),
        )
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(_delete_=True, type='PseudoSampler')),
        rcnn=dict(sampler=dict(_delete_=True, type='PseudoSampler')),
    ),
)
optim_wrapper = dict(optimizer=dict(lr=0.003))
