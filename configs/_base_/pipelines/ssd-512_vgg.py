# SSD512: trained with SSD's augmentation and tested at a fixed 512 x 512.
_base_ = './ssd-augmentation_vgg.py'

train_pipeline = [
    *_base_.ssd_augmentation,
    dict(type='Resize', scale=(512, 512), keep_ratio=False),
    *_base_.flip_and_pack,
]
test_pipeline = [
    *_base_.load_test_image,
    dict(type='Resize', scale=(512, 512), keep_ratio=False),
    *_base_.pack_test_image,
]
