# Cross-entropy and smooth L1 with random sampling, in both stages.
_base_ = '_base_/faster-rcnn.py'
