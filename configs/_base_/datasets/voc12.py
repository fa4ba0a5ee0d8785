# VOC2012: trained on trainval, tested on VOC2007's test, as VOC2012's own is measured by a server.
# Without pipelines, which the files voc12_*.py add.
_base_ = './voc.py'

train_sets = [_base_.voc12_trainval]
