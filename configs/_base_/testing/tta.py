# What testing at several scales shares: the views of an image, each after its own NMS, are merged by
# one more NMS at 0.5, class by class, and the best 100 are kept. DR's own code base pools the views
# before NMS; MMDetection can only do it after.
tta_model = dict(
    type='DetTTAModel', tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100)
)
no_flip = [dict(type='RandomFlip', prob=0.0)]
flip_too = [dict(type='RandomFlip', prob=1.0), dict(type='RandomFlip', prob=0.0)]
load_views = [[dict(type='LoadAnnotations', with_bbox=True)]]
pack_views = [
    [
        dict(
            type='PackDetInputs',
            meta_keys=(
                *('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
                *('flip', 'flip_direction'),
            ),
        )
    ]
]
