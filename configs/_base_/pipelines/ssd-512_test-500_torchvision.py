# Trained at 512 x 512 with SSD's augmentation, tested at short side 500, longest 833 (1.66 times):
# aLRP Loss 500.
_base_ = './ssd-augmentation_torchvision.py'

train_pipeline = [
    *_base_.ssd_augmentation,
    dict(type='Resize', scale=(512, 512), keep_ratio=False),
    *_base_.flip_and_pack,
]
test_pipeline = [
    *_base_.load_test_image,
    dict(type='Resize', scale=(833, 500), keep_ratio=True),
    *_base_.pack_test_image,
]
