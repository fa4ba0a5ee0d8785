# Trained at 512 x 512 with SSD's augmentation, tested at short side 600, longest 1000: AP Loss, its
# ablations. The papers print the 600; the longest side is 1.66 times it, as at 500.
_base_ = './ssd-augmentation_caffe.py'

train_pipeline = [
    *_base_.ssd_augmentation,
    dict(type='Resize', scale=(512, 512), keep_ratio=False),
    *_base_.flip_and_pack,
]
test_pipeline = [
    *_base_.load_test_image,
    dict(type='Resize', scale=(1000, 600), keep_ratio=True),
    *_base_.pack_test_image,
]
