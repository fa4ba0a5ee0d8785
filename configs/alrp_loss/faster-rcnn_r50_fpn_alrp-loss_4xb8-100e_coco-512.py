# Faster R-CNN trained by aLRP Loss (Table 8): trained at 512 x 512, tested at short side 500.
# Batch 4 x 8, learning rate 0.012, 100 epochs: printed; steps at 75 and 95: released.
_base_ = [
    '../_base_/models/faster-rcnn_r50_fpn_alrp-loss.py',
    '../_base_/datasets/coco_ssd-512_test-500_torchvision.py',
    '../_base_/schedules/alrp-loss_100e-late.py',
    '../_base_/default_runtime.py',
]
model = dict(data_preprocessor=_base_.data_preprocessor)
optim_wrapper = dict(optimizer=dict(lr=0.012))
