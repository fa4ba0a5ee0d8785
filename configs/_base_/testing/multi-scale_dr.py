# Testing of DR Loss at several scales (tools/test.py --tta): short sides 400, 500 ... 1200 as its
# Sec. 4.4 prints, no flips as it prints none; longest side 5/3 of the shortest, as at one scale.
_base_ = './tta.py'

tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='TestTimeAug',
        transforms=[
            [
                dict(type='Resize', scale=(round(short * 5 / 3), short), keep_ratio=True)
                for short in range(400, 1201, 100)
            ],
            _base_.no_flip,
            *_base_.load_views,
            *_base_.pack_views,
        ],
    ),
]
