# Pixels as MMDetection's VGG-16 from Caffe wants them (open-mmlab://vgg16_caffe, SSD): RGB, mean
# subtracted, not scaled; nothing is padded because every image has SSD's fixed size. A detector
# takes it as model = dict(data_preprocessor=_base_.data_preprocessor).
data_preprocessor = dict(
    type='DetDataPreprocessor',
    mean=[123.675, 116.28, 103.53],
    std=[1.0, 1.0, 1.0],
    bgr_to_rgb=True,
    pad_size_divisor=1,
)
