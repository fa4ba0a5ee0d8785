# Trained and tested at short side 600, longest 1000 (5/3 times); flipped horizontally: DR Loss 1x.
_base_ = ['./loading.py', '../preprocessing/caffe.py']

scale = (1000, 600)
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
