# DR Loss, 1x, at another scale (Table 6): short side 700 in training and testing.
# Batch 8 x 2, learning rate 0.01, 90,000 iterations (60,000, 80,000): printed.
_base_ = [
    '../_base_/models/retinanet_r50-caffe_fpn_dr-loss.py',
    '../_base_/datasets/coco_flip-700.py',
    '../_base_/schedules/dr-loss_90k.py',
    '../_base_/iteration_runtime.py',
]
model = dict(data_preprocessor=_base_.data_preprocessor)
