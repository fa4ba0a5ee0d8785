# AP Loss, SSD in the comparison of losses (Table 2): trained and tested at 512 x 512.
# Batch 2 x 8, learning rate 0.001, 160 epochs (110, 140): printed for RetinaNet, "other details are
# similar". Warm-up: released.
_base_ = [
    '../_base_/models/ssd512_vgg16.py',
    '../_base_/datasets/voc0712_ssd-512_vgg.py',
    '../_base_/schedules/ap-loss_160e.py',
    '../_base_/default_runtime.py',
]
model = dict(
    data_preprocessor=_base_.data_preprocessor,
    bbox_head=dict(loss_cls=dict(type='APLoss', delta=1.0)),
)
