# AP Loss.
_base_ = '_base_/foveabox.py'

model = dict(bbox_head=dict(loss_cls=dict(type='APLoss')))
optim_wrapper = dict(optimizer=dict(lr=0.003))
