# aLRP Loss whose second stage has a constant weight of localisation instead of self-balancing; all
# else is the same.
_base_ = 'faster-rcnn_r18_fpn_alrp-loss_1xb8-1e_digits-128.py'

model = dict(roi_head=dict(bbox_head=dict(loss_cls=dict(self_balance=False, loc_weight=2.0))))
