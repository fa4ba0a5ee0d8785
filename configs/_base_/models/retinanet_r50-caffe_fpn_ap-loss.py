# RetinaNet trained by AP Loss: 2 scales x 3 ratios and delta = 1 as printed; IoU 0.5 / 0.4 with
# each object's best anchor positive, the box loss divided by 4 |P| (hence 0.25) and score_thr as
# released.
_base_ = './retinanet_r50-caffe_fpn.py'

model = dict(
    bbox_head=dict(
        anchor_generator=dict(scales_per_octave=2),
        loss_cls=dict(
            _delete_=True, type='APLoss', delta=1.0, interpolated=True, step='linear', scale=1.0
        ),
        loss_bbox=dict(_delete_=True, type='SmoothL1Loss', beta=1.0, loss_weight=0.25),
    ),
    test_cfg=dict(score_thr=0.01),
)
