# AP Loss on COCO: as on VOC, but the learning rate is divided by 10 after 60 and 80 of 100 epochs.
_base_ = './ap-loss_160e.py'

param_scheduler = [
    _base_.warm_up,
    dict(type='MultiStepLR', by_epoch=True, milestones=[60, 80], gamma=0.1),
]
train_cfg = dict(max_epochs=100)
