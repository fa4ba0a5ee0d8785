# COCO for the ablations of AP Loss on minival: as for the benchmark, but tested at short side 600.
_base_ = ['./coco.py', '../pipelines/ssd-512_test-600_caffe.py']

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
