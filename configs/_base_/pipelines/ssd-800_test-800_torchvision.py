# Trained at 800 x 800 with SSD's augmentation, tested at short side 800, longest 1333 (1.66 times):
# aLRP Loss 800.
_base_ = './ssd-augmentation_torchvision.py'

train_pipeline = [
    *_base_.ssd_augmentation,
    dict(type='Resize', scale=(800, 800), keep_ratio=False),
    *_base_.flip_and_pack,
]
test_pipeline = [
    *_base_.load_test_image,
    dict(type='Resize', scale=(1333, 800), keep_ratio=True),
    *_base_.pack_test_image,
]
