# DR Loss, 1x. Printed: SGD, learning rate 0.01 for 16 images, divided by 10 after 60,000 and
# 80,000 of 90,000 iterations; the rest as RetinaNet: momentum 0.9, weight decay 1e-4. The code
# base that the paper names warms up over 500 iterations from 1/3 (it also doubles the rate of
# biases and spares them weight decay, which the paper does not print and is not done here).
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=0.0001),
)
warm_up = dict(type='LinearLR', start_factor=1 / 3, by_epoch=False, begin=0, end=500)
param_scheduler = [
    warm_up,
    dict(type='MultiStepLR', by_epoch=False, milestones=[60000, 80000], gamma=0.1),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=90000, val_interval=10000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(enable=False, base_batch_size=16)
