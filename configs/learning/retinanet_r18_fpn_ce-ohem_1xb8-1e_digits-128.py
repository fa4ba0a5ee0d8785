# Softmax cross-entropy on the positives and the three hardest negatives of each.
_base_ = '_base_/retinanet.py'

model = dict(bbox_head=dict(loss_cls=dict(type='OHEMCrossEntropyLoss')))
optim_wrapper = dict(optimizer=dict(lr=0.01))
