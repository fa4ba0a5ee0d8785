# AUC Loss: every pair of a positive and a negative counts alike.
_base_ = '_base_/retinanet.py'

model = dict(bbox_head=dict(loss_cls=dict(type='AUCLoss')))
optim_wrapper = dict(optimizer=dict(lr=0.01))
