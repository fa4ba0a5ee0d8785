# Focal loss, the baseline of DR Loss (Tables 2 and 5), IoU 0.5 / 0.4 and score threshold released.
# Batch 8 x 2, learning rate 0.01, 90,000 iterations (60,000, 80,000): printed.
_base_ = './retinanet_r50-caffe_fpn_dr-loss_8xb2-90k_coco-800.py'

model = dict(
    bbox_head=dict(
        loss_cls=dict(_delete_=True, type='FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25)
    ),
    train_cfg=dict(assigner=dict(neg_iou_thr=0.4)),
    test_cfg=dict(score_thr=0.05),
)
