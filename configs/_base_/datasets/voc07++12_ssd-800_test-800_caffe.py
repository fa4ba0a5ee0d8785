# VOC07++12 for AP Loss 800: 800 x 800 with SSD's augmentation, tested at short side 800. 2 GPUs x 8
# images.
_base_ = ['./voc07++12.py', '../pipelines/ssd-800_test-800_caffe.py']

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
