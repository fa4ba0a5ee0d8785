# Pixels as torchvision's models want them: RGB, normalised by ImageNet's mean and deviation.
# aLRP Loss: the backbones and means of the authors' release. A detector takes it as
# model = dict(data_preprocessor=_base_.data_preprocessor).
data_preprocessor = dict(
    type='DetDataPreprocessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True,
    pad_size_divisor=32,
)
