# Testing of aLRP Loss 800 at several scales (tools/test.py --tta). The paper prints no scales. Chosen
# here: short sides 600, 700 ... 1000, around the 800 of the single scale, each also flipped.
_base_ = './tta.py'

tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='TestTimeAug',
        transforms=[
            [
                dict(type='Resize', scale=(round(short * 5 / 3), short), keep_ratio=True)
                for short in range(600, 1001, 100)
            ],
            _base_.flip_too,
            *_base_.load_views,
            *_base_.pack_views,
        ],
    ),
]
