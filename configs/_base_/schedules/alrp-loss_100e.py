# aLRP Loss, ablations and scale 800. Printed: SGD, momentum 0.9, learning rate 0.008 for 32
# images, divided by 10 after 60 and 80 of 100 epochs. Released: weight decay 1e-4, warm-up over
# 500 iterations from 0.001. Other rows change lr.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.008, momentum=0.9, weight_decay=0.0001),
)
warm_up = dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500)
param_scheduler = [
    warm_up,
    dict(type='MultiStepLR', by_epoch=True, milestones=[60, 80], gamma=0.1),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=100, val_interval=10)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(enable=False, base_batch_size=32)
