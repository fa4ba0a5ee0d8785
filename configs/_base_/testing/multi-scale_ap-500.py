# Testing of AP Loss 500 at several scales (tools/test.py --tta). The paper prints no scales. Chosen
# here: short sides 300, 400 ... 700, around the 500 of the single scale, each also flipped.
_base_ = './tta.py'

tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='TestTimeAug',
        transforms=[
            [
                dict(type='Resize', scale=(round(short * 5 / 3), short), keep_ratio=True)
                for short in range(300, 701, 100)
            ],
            _base_.flip_too,
            *_base_.load_views,
            *_base_.pack_views,
        ],
    ),
]
