# Focal loss on VOC2007, the baseline (Table 7), IoU 0.5 / 0.4 and score threshold as on COCO.
# Batch 8 x 2, learning rate 0.008, 8,750 iterations (6,250): printed, as for DR Loss.
_base_ = './retinanet_r50-caffe_fpn_dr-loss_8xb2-8.75k_voc07-800.py'

model = dict(
    bbox_head=dict(
        loss_cls=dict(_delete_=True, type='FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25)
    ),
    train_cfg=dict(assigner=dict(neg_iou_thr=0.4)),
    test_cfg=dict(score_thr=0.05),
)
