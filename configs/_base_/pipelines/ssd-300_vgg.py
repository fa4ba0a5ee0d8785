# SSD300: trained with SSD's augmentation and tested at a fixed 300 x 300.
_base_ = './ssd-augmentation_vgg.py'

train_pipeline = [
    *_base_.ssd_augmentation,
    dict(type='Resize', scale=(300, 300), keep_ratio=False),
    *_base_.flip_and_pack,
]
test_pipeline = [
    *_base_.load_test_image,
    dict(type='Resize', scale=(300, 300), keep_ratio=False),
    *_base_.pack_test_image,
]
