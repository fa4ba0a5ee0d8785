# VOC07+12: trained on both years' trainval, tested on VOC2007's test. AP Loss, Sec. 4.1.2.
# Without pipelines, which the files voc0712_*.py add.
_base_ = './voc.py'

train_sets = [_base_.voc07_trainval, _base_.voc12_trainval]
