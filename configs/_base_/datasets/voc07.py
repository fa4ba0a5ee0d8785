# VOC2007: trained on trainval, tested on test. Without pipelines, which the files voc07_*.py add.
_base_ = './voc.py'

train_sets = [_base_.voc07_trainval]
