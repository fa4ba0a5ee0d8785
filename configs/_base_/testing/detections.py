# What is kept of a detector's output in every table of the papers: the 1,000 best scores of a level
# go into NMS at 0.5, class by class, and 100 boxes per image remain. A detector takes it as
# model = dict(test_cfg=dict(_base_.detections, score_thr=...)) with the release's threshold:
# AP Loss 0.01, aLRP Loss 0.05, DR Loss 0.2 (ResNet-50, 1x) or 0.1 (2x), its focal loss 0.05.
detections = dict(
    nms_pre=1000,
    min_bbox_size=0,
    score_thr=0.05,
    nms=dict(type='nms', iou_threshold=0.5),
    max_per_img=100,
)
