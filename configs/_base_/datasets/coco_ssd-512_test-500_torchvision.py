# COCO for aLRP Loss 500: 512 x 512 with SSD's augmentation, tested at short side 500. 4 GPUs x 8
# images.
_base_ = ['./coco.py', '../pipelines/ssd-512_test-500_torchvision.py']

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
