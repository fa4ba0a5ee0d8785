# Faster R-CNN with both stages trained by aLRP Loss, nothing sampled, the proposals' loss weighed
# 0.2 as printed. Proposals are positive from IoU 0.7, hence its tau; box deltas as released.
_base_ = 'mmdet::_base_/models/faster-rcnn_r50_fpn.py'

model = dict(
    rpn_head=dict(
        type='RankRPNHead',
        bbox_coder=dict(target_stds=[0.1, 0.1, 0.2, 0.2]),
        reg_decoded_bbox=True,
        loss_cls=dict(
            _delete_=True,
            type='aLRPLoss',
            tau=0.7,
            self_balance=True,
            loc_weight=50.0,
            loss_weight=0.2,
        ),
        loss_bbox=dict(_delete_=True, type='GIoULoss'),
    ),
    roi_head=dict(
        bbox_head=dict(
            type='RankShared2FCBBoxHead',
            reg_decoded_bbox=True,
            loss_cls=dict(_delete_=True, type='aLRPLoss', self_balance=True, loc_weight=50.0),
            loss_bbox=dict(_delete_=True, type='GIoULoss'),
        ),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(_delete_=True, type='PseudoSampler')),
        rcnn=dict(sampler=dict(_delete_=True, type='PseudoSampler')),
    ),
)
custom_hooks = [dict(type='SelfBalanceHook')]
