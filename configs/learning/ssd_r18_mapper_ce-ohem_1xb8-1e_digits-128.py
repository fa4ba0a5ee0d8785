# The losses that SSD brings: softmax cross-entropy with hard negatives, smooth L1.
_base_ = '_base_/ssd.py'
optim_wrapper = dict(optimizer=dict(lr=0.01))
