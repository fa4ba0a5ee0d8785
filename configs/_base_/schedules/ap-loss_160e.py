# AP Loss on VOC. Printed: SGD, momentum 0.9, weight decay 1e-4, learning rate 0.001 for 16
# images, scaled linearly with them, divided by 10 after 110 and 140 of 160 epochs. Released:
# warm-up over 500 iterations from 1/3.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.001, momentum=0.9, weight_decay=0.0001),
)
warm_up = dict(type='LinearLR', start_factor=1 / 3, by_epoch=False, begin=0, end=500)
param_scheduler = [
    warm_up,
    dict(type='MultiStepLR', by_epoch=True, milestones=[110, 140], gamma=0.1),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=160, val_interval=10)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(enable=False, base_batch_size=16)
