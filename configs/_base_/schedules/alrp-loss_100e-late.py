# aLRP Loss against the state of the art at scale 500, FoveaBox and Faster R-CNN: the learning
# rate is divided by 10 after 75 and 95 of 100 epochs (printed for aLRP Loss 500, released for all
# three).
_base_ = './alrp-loss_100e.py'

param_scheduler = [
    _base_.warm_up,
    dict(type='MultiStepLR', by_epoch=True, milestones=[75, 95], gamma=0.1),
]
