# RetinaNet of AP Loss and DR Loss: MMDetection's over a ResNet of the Caffe kind (MSRA), its batch
# norm, first convolution and first stage frozen, box deltas divided by .1 .1 .2 .2. The head ranks
# or not, as its loss asks. A config adds data_preprocessor, classes, losses and score_thr.
_base_ = ['mmdet::_base_/models/retinanet_r50_fpn.py', '../testing/detections.py']

model = dict(
    backbone=dict(
        norm_cfg=dict(requires_grad=False),
        style='caffe',
        init_cfg=dict(checkpoint='open-mmlab://detectron/resnet50_caffe'),
    ),
    bbox_head=dict(
        type='RankRetinaHead',
        bbox_coder=dict(target_stds=[0.1, 0.1, 0.2, 0.2]),
    ),
    test_cfg=_base_.detections,
)
