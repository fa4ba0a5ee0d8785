# Pixels as the Caffe models of He et al. (MSRA) want them: BGR, mean subtracted, not scaled.
# AP Loss and DR Loss: the backbones and means of the authors' releases. A detector takes it as
# model = dict(data_preprocessor=_base_.data_preprocessor).
data_preprocessor = dict(
    type='DetDataPreprocessor',
    mean=[102.9801, 115.9465, 122.7717],
    std=[1.0, 1.0, 1.0],
    bgr_to_rgb=False,
    pad_size_divisor=32,
)
