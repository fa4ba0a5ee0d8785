# The demo with focal loss: the same head, data and schedule; only the losses differ.
_base_ = './retinanet_r18_fpn_ap-loss_1xb8-3e_digits-160.py'

model = dict(
    bbox_head=dict(
        loss_cls=dict(
            _delete_=True,
            type='FocalLoss',
            use_sigmoid=True,
            gamma=2.0,
            alpha=0.25,
            loss_weight=1.0,
        )
    )
)
