# SSD's augmentation up to the resizing, for images that are fed as in preprocessing/caffe.py:
# its mean fills what Expand adds.
_base_ = ['./ssd-augmentation.py', '../preprocessing/caffe.py']

ssd_augmentation = [
    *_base_.photometric,
    dict(
        type='Expand',
        mean=_base_.data_preprocessor.mean,
        to_rgb=_base_.data_preprocessor.bgr_to_rgb,
        ratio_range=(1, 4),
    ),
    *_base_.crop,
]
