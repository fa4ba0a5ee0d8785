# Trained and tested at short side 500, longest 833 (5/3 times); flipped horizontally: DR Loss 1x.
_base_ = ['./loading.py', '../preprocessing/caffe.py']

scale = (833, 500)
train_pipeline = [
    *_base_.load_training_image,
    dict(type='Resize', scale=scale, keep_ratio=True),
    *_base_.flip_and_pack,
]
test_pipeline = [
    *_base_.load_test_image,
    dict(type='Resize', scale=scale, keep_ratio=True),
    *_base_.pack_test_image,
]
