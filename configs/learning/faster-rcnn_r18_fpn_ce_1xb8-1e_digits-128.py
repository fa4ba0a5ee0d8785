# Cross-entropy and smooth L1 with random sampling, in both stages.
_base_ = '_base_/faster-rcnn.py'
optim_wrapper = dict(optimizer=dict(lr=0.01))
