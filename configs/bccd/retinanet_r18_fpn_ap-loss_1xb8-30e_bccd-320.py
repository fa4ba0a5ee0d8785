# Real photos: blood cells (BCCD, 364 photos, VOC XML), from random weights, on a CPU if need be.
# `make bccd BCCD=FOLDER` converts the annotations and trains; FOLDER holds Annotations,
# ImageSets and JPEGImages. Batch 8 on one process; half of ResNet-18's channels; photos at half
# their size. Cells have no up or down: flips in all directions.
_base_ = '../demo/retinanet_r18_fpn_ap-loss_1xb8-3e_digits-160.py'

photos = '{{$BCCD:data/BCCD}}'
metainfo = dict(classes=('Platelets', 'RBC', 'WBC'))
img_scale = (320, 240)
max_epochs = 30

model = dict(
    backbone=dict(
        num_stages=4, strides=(1, 2, 2, 2), dilations=(1, 1, 1, 1), out_indices=(1, 2, 3)
    ),
    neck=dict(in_channels=[64, 128, 256]),
    bbox_head=dict(
        num_classes=3,
        anchor_generator=dict(octave_base_scale=2, ratios=[1.0], strides=[8, 16, 32]),
    ),
    # Anchors inside difficult objects are neither positive nor negative.
    train_cfg=dict(assigner=dict(ignore_iof_thr=0.5)),
)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=img_scale, keep_ratio=True),
    dict(
        type='RandomFlip', prob=[0.25, 0.25, 0.25], direction=['horizontal', 'vertical', 'diagonal']
    ),
    dict(type='PhotoMetricDistortion', hue_delta=9, contrast_range=(0.8, 1.2)),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=img_scale, keep_ratio=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
train_dataset = dict(
    type='CocoDataset',
    metainfo=metainfo,
    ann_file='data/bccd/instances_train.json',
    data_prefix=dict(img=photos),
    filter_cfg=dict(filter_empty_gt=True, min_size=1),
    pipeline=train_pipeline,
)
train_dataloader = dict(
    dataset=dict(_delete_=True, type='SeededDataset', dataset=train_dataset),
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='CocoDataset',
        metainfo=metainfo,
        ann_file='data/bccd/instances_test.json',
        data_prefix=dict(img=photos),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file='data/bccd/instances_test.json')
test_evaluator = val_evaluator

train_cfg = dict(max_epochs=max_epochs, val_interval=5)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(
        type='CosineAnnealingLR',
        by_epoch=True,
        begin=0,
        end=max_epochs,
        T_max=max_epochs,
        convert_to_iter_based=True,
    ),
]
