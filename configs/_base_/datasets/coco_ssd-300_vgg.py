# COCO for SSD300: 300 x 300 in training and testing.
_base_ = ['./coco.py', '../pipelines/ssd-300_vgg.py']

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
