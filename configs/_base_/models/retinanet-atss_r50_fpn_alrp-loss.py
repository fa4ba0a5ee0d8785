# RetinaNet trained by aLRP Loss with ATSS in place of IoU thresholds: the 9 anchors nearest to an
# object on each level, one ratio; 2 scales as the release has at 500 (3 at 800).
_base_ = './retinanet_r50_fpn_alrp-loss.py'

model = dict(
    bbox_head=dict(anchor_generator=dict(ratios=[1.0])),
    train_cfg=dict(assigner=dict(_delete_=True, type='ATSSAssigner', topk=9)),
)
