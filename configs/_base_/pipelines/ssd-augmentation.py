# SSD's augmentation (Liu et al., ECCV 2016, Sec. 2.2 and 3.6) without Expand, which comes between
# the two parts and whose filling depends on the preprocessing. Numbers of SSD's release, as in
# aLRP's; the AP Loss release departs by itself: it crops at 0.1, 0.3, 0.7, 0.9, adds lighting
# noise and draws the interpolation.
_base_ = './loading.py'

photometric = [
    *_base_.load_training_image,
    dict(
        type='PhotoMetricDistortion',
        brightness_delta=32,
        contrast_range=(0.5, 1.5),
        saturation_range=(0.5, 1.5),
        hue_delta=18,
    ),
]
crop = [
    dict(
        type='MinIoURandomCrop',
        min_ious=(0.1, 0.3, 0.5, 0.7, 0.9),
        min_crop_size=0.3,
    ),
]
