# Trained at a short side drawn from 640, 672 ... 800, longest 1333, flipped horizontally; tested at
# 800: DR Loss 2x and 1.5x. The paper prints [640, 800], the release the six sizes.
_base_ = ['./loading.py', '../preprocessing/caffe.py']

train_pipeline = [
    *_base_.load_training_image,
    dict(
        type='RandomChoiceResize',
        scales=[(1333, short_side) for short_side in range(640, 801, 32)],
        keep_ratio=True,
    ),
    *_base_.flip_and_pack,
]
test_pipeline = [
    *_base_.load_test_image,
    dict(type='Resize', scale=(1333, 800), keep_ratio=True),
    *_base_.pack_test_image,
]
