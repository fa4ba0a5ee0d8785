# RetinaNet trained by DR Loss: 3 scales x 3 ratios and the parameters of the loss as printed;
# IoU 0.5 / 0.5, so that no anchor is ignored, the box loss with beta 0.11, divided by 4 |P| (hence
# 0.25), and score_thr as released.
import math

_base_ = './retinanet_r50-caffe_fpn.py'

model = dict(
    bbox_head=dict(
        loss_cls=dict(
            _delete_=True,
            type='DRLoss',
            pos_lambda=1.0,  # 1 / log(h+), h+ = e
            neg_lambda=0.1 / math.log(3.5),  # 0.1 / log(h-)
            smoothness=6.0,
            margin=0.5,
            tau=4.0,
            surrogate='logistic',
            rho=0.5,  # of the quadratic surrogate
            pairing='dr',
        ),
        loss_bbox=dict(_delete_=True, type='SmoothL1Loss', beta=0.11, loss_weight=0.25),
    ),
    train_cfg=dict(assigner=dict(neg_iou_thr=0.5)),
    test_cfg=dict(score_thr=0.2),
)
