# VOC07+12 as AP Loss 800 trains on COCO: 800 x 800 with SSD's augmentation, tested at 800.
_base_ = ['./voc0712.py', '../pipelines/ssd-800_test-800_caffe.py']

train_dataloader = dict(
    batch_size=8,
    dataset=dict(
        dataset=dict(
            datasets=[dict(part, pipeline=_base_.train_pipeline) for part in _base_.train_sets]
        )
    ),
)
val_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline))
