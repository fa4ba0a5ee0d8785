# AP Loss, comparison of losses on COCO (Table 2): trained at 512 x 512, tested at short side 600.
# Batch 2 x 8, learning rate 0.001, 100 epochs (60, 80): printed. Warm-up, assignment and the box
# loss: released.
_base_ = [
    '../_base_/models/retinanet_r50-caffe_fpn_ap-loss.py',
    '../_base_/datasets/coco_ssd-512_test-600_caffe.py',
    '../_base_/schedules/ap-loss_100e.py',
    '../_base_/default_runtime.py',
]
model = dict(data_preprocessor=_base_.data_preprocessor)
