# aLRP Loss, ablations (Tables 2 to 4): trained at 512 x 512, tested at short side 500. Batch 4 x
# 8, learning rate 0.008, 100 epochs (60, 80): printed. Warm-up, box deltas, assignment and score
# threshold: released. Rows of the tables change one value: see Options in metafile.yml.
_base_ = [
    '../_base_/models/retinanet_r50_fpn_alrp-loss.py',
    '../_base_/datasets/coco_ssd-512_test-500_torchvision.py',
    '../_base_/schedules/alrp-loss_100e.py',
    '../_base_/default_runtime.py',
]
model = dict(data_preprocessor=_base_.data_preprocessor)
