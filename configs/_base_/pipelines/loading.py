# The two ends that all pipelines share. At test time boxes are loaded after resizing, so that they
# keep the size of the original image, as detections do.
load_training_image = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
]
flip_and_pack = [
    dict(type='RandomFlip', prob=0.5),  # horizontally
    dict(type='PackDetInputs'),
]
load_test_image = [dict(type='LoadImageFromFile')]
pack_test_image = [
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
