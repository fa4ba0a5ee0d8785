# COCO for DR Loss, Table 6: short side 600 in training and testing, flips only. 8 GPUs x 2 images.
_base_ = ['./coco.py', '../pipelines/flip-600.py']

train_dataloader = dict(
    batch_size=2,
    sampler=dict(type='SeededInfiniteSampler', shuffle=True),  # DR Loss counts iterations
    batch_sampler=dict(type='AspectRatioBatchSampler'),
    dataset=dict(
        dataset=dict(
            datasets=[dict(part, pipeline=_base_.train_pipeline) for part in _base_.train_sets]
        )
    ),
)
val_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline))
