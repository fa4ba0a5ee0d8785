# aLRP Loss 500 with ATSS (Table 6; Table 2 with other steps): trained at 512 x 512, tested at
# 500. Batch 4 x 8, learning rate 0.008, 100 epochs (75, 95): printed. Warm-up, anchors (2 scales,
# 1 ratio) and score threshold: released.
_base_ = [
    '../_base_/models/retinanet-atss_r50_fpn_alrp-loss.py',
    '../_base_/datasets/coco_ssd-512_test-500_torchvision.py',
    '../_base_/schedules/alrp-loss_100e-late.py',
    '../_base_/default_runtime.py',
]
model = dict(data_preprocessor=_base_.data_preprocessor)
