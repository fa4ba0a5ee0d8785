# A FoveaBox that is small enough for tests.
_base_ = './tiny_config.py'

model = dict(
    type='FOVEA',
    bbox_head=dict(
        _delete_=True,
        type='RankFoveaHead',
        num_classes=10,
        in_channels=16,
        feat_channels=16,
        stacked_convs=1,
        strides=[4, 8, 16],
        base_edge_list=[12, 24, 48],
        scale_ranges=((4, 24), (16, 48), (32, 96)),
        sigma=0.4,
        with_deform=False,
        loss_cls=dict(type='aLRPLoss'),
        loss_bbox=dict(type='GIoULoss'),
    ),
    train_cfg=dict(_delete_=True),
)
