# AP Loss, ablations on VOC (Tables 1 and 2): trained at 512 x 512, tested at short side 600.
# Batch 2 x 8, learning rate 0.001, 160 epochs (110, 140): printed. Warm-up, assignment and the box
# loss: released. Rows of Table 1 change one value: see Options in metafile.yml.
_base_ = [
    '../_base_/models/retinanet_r50-caffe_fpn_ap-loss.py',
    '../_base_/datasets/voc0712_ssd-512_test-600_caffe.py',
    '../_base_/schedules/ap-loss_160e.py',
    '../_base_/default_runtime.py',
]
model = dict(data_preprocessor=_base_.data_preprocessor, bbox_head=dict(num_classes=20))
