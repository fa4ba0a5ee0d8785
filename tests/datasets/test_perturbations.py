"""Perturbed images against slow loops over pixels, and their random numbers."""

import math
import pickle

import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS, TRANSFORMS
from mmengine.dataset import DefaultSampler, pseudo_collate
from mmengine.registry import init_default_scope
from torch.utils.data import DataLoader

import rankdet.plugin  # noqa: F401
from rankdet.datasets.perturbations import (
    AdversarialPatch,
    BlackPatch,
    FlipPatch,
    GaussianNoise,
    RandomPatch,
    centre_patch,
    paste_disc,
)
from tests.engine.tiny import digits  # noqa: F401

BOXES = [(10.0, 6.0, 40.0, 30.0), (30.5, 20.25, 47.0, 39.75), (44.0, 2.0, 58.0, 12.0)]


def scene(boxes=BOXES, ignored=(), image_id=3, dtype=np.uint8, shape=(42, 60, 3)) -> dict:
    """Every pixel and channel has a value of its own, so that it is seen where it came from."""
    pixels = np.arange(math.prod(shape)).reshape(shape)
    pixels = pixels.astype(dtype) if dtype != np.uint8 else (pixels % 251 + 3).astype(np.uint8)
    instances = [
        dict(bbox=list(box), bbox_label=0, ignore_flag=int(n in ignored))
        for n, box in enumerate(boxes)
    ]
    return dict(
        img=pixels, ori_shape=shape[:2], img_shape=shape[:2], img_id=image_id, instances=instances
    )


def patch_pixels(box, across=0.5, down=0.5, shape=(42, 60)):
    """The pixels (y, x) of a patch, found by going over all of the image."""
    width = max(1, math.floor(across * (box[2] - box[0]) + 0.5))
    height = max(1, math.floor(down * (box[3] - box[1]) + 0.5))
    left = math.floor((box[0] + box[2] - width) / 2 + 0.5)
    top = math.floor((box[1] + box[3] - height) / 2 + 0.5)
    return [
        (y, x)
        for y in range(shape[0])
        for x in range(shape[1])
        if left <= x < left + width and top <= y < top + height
    ]


# --- patches -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'extent, share', [('both', (0.5, 0.5)), ('width', (0.5, 1.0)), ('height', (1.0, 0.5))]
)
@pytest.mark.parametrize('dtype', [np.uint8, np.float64, np.int64])
def test_a_black_patch_pixel_by_pixel(extent, share, dtype):
    results = scene(dtype=dtype)
    before = results['img'].copy()
    expected = before.copy()
    for box in BOXES:
        for y, x in patch_pixels(box, *share):
            expected[y, x] = 0
    after = BlackPatch(extent)(results)['img']
    assert after.dtype == dtype and np.array_equal(after, expected)
    assert (after != before).any()


def test_either_extent_takes_both_turns():
    shares = set()
    for image_id in range(20):
        after = BlackPatch('either')(scene(BOXES[:1], image_id=image_id))['img']
        black = (after == 0).all(-1)
        shares.add((int(black.any(0).sum()), int(black.any(1).sum())))
    assert shares == {(15, 24), (30, 12)}


@pytest.mark.parametrize('transform', [BlackPatch, FlipPatch, RandomPatch])
def test_objects_that_are_not_measured_get_no_patch(transform):
    changed = transform()(scene(ignored=[0]))['img'] != scene()['img']
    allowed = {at for box in BOXES[1:] for at in patch_pixels(box)}
    assert changed.any() and {tuple(at) for at in np.argwhere(changed.any(-1))} <= allowed


FLIPS = {'left-right': (True, False), 'top-bottom': (False, True), 'both': (True, True)}


@pytest.mark.parametrize('dtype', [np.uint8, np.float64])
def test_a_flipped_patch_is_one_of_three_and_all_three_come(dtype):
    seen = set()
    for image_id in range(25):
        before = scene(BOXES[:1], image_id=image_id, dtype=dtype)['img']
        after = FlipPatch()(scene(BOXES[:1], image_id=image_id, dtype=dtype))['img']
        at = patch_pixels(BOXES[0])
        top, left = at[0]
        bottom, right = at[-1]
        fits = []
        for name, (across, down) in FLIPS.items():
            expected = before.copy()
            for y, x in at:
                source = top + bottom - y if down else y, left + right - x if across else x
                expected[y, x] = before[source]
            if np.array_equal(after, expected):
                fits.append(name)
        assert len(fits) == 1
        seen.update(fits)
    assert seen == set(FLIPS)


def test_overlapping_patches_show_the_image_as_it_was():
    """The second object's centre is inside the first one's patch."""
    boxes = [(0, 0, 40, 40), (14, 14, 34, 34)]
    before, after = scene(boxes)['img'], FlipPatch()(scene(boxes))['img']
    at = patch_pixels(boxes[1])
    inside = np.array([after[y, x] for y, x in at])
    original = np.array([before[y, x] for y, x in at])
    assert np.array_equal(np.unique(inside, axis=0), np.unique(original, axis=0))


def place_of(patch: np.ndarray, image: np.ndarray) -> tuple[int, int]:
    """Where a piece of an image was cut out that counts its own values from 0."""
    y, x = divmod(int(patch[0, 0, 0]) // image.shape[2], image.shape[1])
    assert np.array_equal(image[y : y + patch.shape[0], x : x + patch.shape[1]], patch)
    return y, x


def shared_area(y, x, height, width, box) -> float:
    across = max(0.0, min(x + width, box[2]) - max(x, box[0]))
    down = max(0.0, min(y + height, box[3]) - max(y, box[1]))
    return across * down


def test_a_random_patch_comes_from_outside_the_box_and_from_everywhere_there():
    box = (20.0, 14.0, 40.0, 28.0)
    x1, y1, x2, y2 = centre_patch(box, (10, 7), (42, 60))
    found = set()
    for image_id in range(400):
        results = scene([box], image_id=image_id, dtype=np.int64)
        before = results['img'].copy()
        after = RandomPatch()(results)['img']
        place = place_of(after[y1:y2, x1:x2], before)
        assert shared_area(*place, 7, 10, box) == 0
        rest = np.ones(before.shape[:2], bool)
        rest[y1:y2, x1:x2] = False
        assert np.array_equal(after[rest], before[rest])
        found.add(place)
    sides = ('above', 'below', 'left', 'right')
    hit = [{'above': y < 14, 'below': y > 28, 'left': x < 20, 'right': x > 40} for y, x in found]
    assert all(any(one[side] for one in hit) for side in sides) and len(found) > 250


def test_a_box_that_fills_the_image_takes_what_it_touches_least():
    box = (2.0, 1.0, 60.0, 42.0)
    results = scene([box], dtype=np.int64)
    before = results['img'].copy()
    after = RandomPatch()(results)['img']
    x1, y1, x2, y2 = centre_patch(box, (29, 20.5), (42, 60))
    place = place_of(after[y1:y2, x1:x2], before)
    height, width = y2 - y1, x2 - x1
    least = min(
        shared_area(y, x, height, width, box)
        for y in range(42 - height + 1)
        for x in range(60 - width + 1)
    )
    assert least > 0 and shared_area(*place, height, width, box) == least


@pytest.mark.parametrize(
    'box', [(-10, -8, 9, 10), (50, 35, 80, 60), (3.2, 4.1, 3.6, 4.4), (70, 50, 90, 70)]
)
@pytest.mark.parametrize('transform', [BlackPatch, FlipPatch, RandomPatch])
def test_boxes_at_the_border_beyond_it_or_tiny(transform, box):
    before = scene([box])['img']
    after = transform()(scene([box]))['img']
    changed = {tuple(at) for at in np.argwhere((before != after).any(-1))}
    assert changed <= set(patch_pixels(box))


def test_no_object_no_patch():
    for transform in (BlackPatch(), FlipPatch(), RandomPatch(), AdversarialPatch(PATCH)):
        assert np.array_equal(transform(scene([]))['img'], scene([])['img'])


# --- the adversarial patch -----------------------------------------------------------------------

PATCH = np.random.default_rng(0).uniform(0, 255, (8, 8, 3)).astype(np.float32)


def disc_oracle(image, patch, centre, size, angle):
    """Every pixel by itself, in float64: turn back, then interpolate between four pixels."""
    out, side = image.copy(), patch.shape[-1]
    for y in range(image.shape[1]):
        for x in range(image.shape[2]):
            u = 2 * (x + 0.5 - centre[0]) / size[0]
            v = 2 * (y + 0.5 - centre[1]) / size[1]
            if u * u + v * v > 1:
                continue
            turned = complex(u, v) * complex(math.cos(angle), -math.sin(angle))
            column = min(max((turned.real + 1) / 2 * side - 0.5, 0), side - 1)
            row = min(max((turned.imag + 1) / 2 * side - 0.5, 0), side - 1)
            c, r = min(int(column), side - 2), min(int(row), side - 2)
            a, b = column - c, row - r
            out[:, y, x] = (1 - b) * ((1 - a) * patch[:, r, c] + a * patch[:, r, c + 1]) + b * (
                (1 - a) * patch[:, r + 1, c] + a * patch[:, r + 1, c + 1]
            )
    return out


@pytest.mark.parametrize(
    'centre, size, angle',
    [((15.0, 12.0), (16.0, 10.0), 0.0), ((10.3, 20.7), (9.5, 14.2), 0.7), ((1, 29), (12, 9), -2)],
)
def test_pasting_against_a_loop_in_float64(centre, size, angle):
    rng = np.random.default_rng(1)
    image, patch = rng.normal(size=(3, 30, 40)), rng.normal(size=(3, 7, 7))
    found = paste_disc(torch.tensor(image), torch.tensor(patch), centre, size, angle)
    expected = disc_oracle(image, patch, centre, size, angle)
    assert np.abs(found.numpy() - expected).max() < 1e-12
    assert (expected != image).any() and (expected == image).any()


def test_pasting_is_linear_in_the_patch_and_has_that_gradient():
    image = torch.randn(3, 12, 12, dtype=torch.float64, requires_grad=True)
    patch = torch.randn(3, 4, 4, dtype=torch.float64, requires_grad=True)
    where = ((6.2, 5.5), (8.0, 6.0), 0.3)
    assert torch.autograd.gradcheck(lambda i, p: paste_disc(i, p, *where), (image, patch))


def test_the_transform_pastes_at_every_centre_by_angles_of_its_own():
    results = scene()
    before = results['img'].copy()
    after = AdversarialPatch(PATCH, rotation=0)(results)['img']
    expected = before.transpose(2, 0, 1).astype(np.float64)
    for box in BOXES:
        centre = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        size = (box[2] - box[0]) / 2, (box[3] - box[1]) / 2
        expected = disc_oracle(expected, PATCH.transpose(2, 0, 1), centre, size, 0.0)
    assert after.dtype == np.uint8
    assert np.abs(after - expected.transpose(1, 2, 0)).max() <= 0.5 + 1e-3
    turned = [AdversarialPatch(PATCH, seed=seed)(scene())['img'] for seed in (0, 1)]
    assert not np.array_equal(*turned) and not np.array_equal(turned[0], after)


def test_a_patch_from_a_file(tmp_path):
    import cv2

    cv2.imwrite(str(tmp_path / 'patch.png'), PATCH.round())
    built = TRANSFORMS.build(dict(type='AdversarialPatch', patch=str(tmp_path / 'patch.png')))
    assert np.array_equal(built(scene())['img'], AdversarialPatch(PATCH.round())(scene())['img'])
    with pytest.raises(ValueError, match=r'three channels, got .*none\.png'):
        AdversarialPatch(tmp_path / 'none.png')


# --- noise ---------------------------------------------------------------------------------------


def test_noise_has_the_moments_it_is_asked_for():
    """Mid grey is 5 deviations from either end: next to nothing is cut off."""
    results = scene(shape=(200, 200, 3), dtype=np.float64)
    results['img'][:] = 127.5
    noise = GaussianNoise(0.01)(results)['img'] / 255 - 0.5
    count = noise.size
    assert abs(noise.mean()) < 5 * 0.1 / count**0.5
    assert abs(noise.var() - 0.01) < 5 * 0.01 * (2 / count) ** 0.5
    pairs = [
        noise[:, :-1].ravel() @ noise[:, 1:].ravel(),
        noise[:-1].ravel() @ noise[1:].ravel(),
        noise[..., :-1].ravel() @ noise[..., 1:].ravel(),
    ]  # neighbours and channels are independent
    assert max(map(abs, pairs)) < 5 * 0.01 * count**0.5
    assert abs((np.abs(noise) < 0.1).mean() - 0.6827) < 0.01


def test_noise_is_cut_off_and_rounded_where_the_image_is_whole_numbers():
    after = GaussianNoise(0.01)(scene())['img']
    exact = GaussianNoise(0.01)(scene() | dict(img=scene()['img'].astype(np.float64)))['img']
    assert after.dtype == np.uint8 and exact.min() == 0 and exact.max() == 255
    assert np.array_equal(after, np.rint(exact))
    assert np.array_equal(GaussianNoise(0.0)(scene())['img'], scene()['img'])


# --- random numbers ------------------------------------------------------------------------------

ALL = [
    dict(type='RandomPatch'),
    dict(type='FlipPatch'),
    dict(type='BlackPatch', extent='either'),
    dict(type='AdversarialPatch', patch=PATCH),
    dict(type='GaussianNoise'),
]


@pytest.mark.parametrize('config', ALL, ids=lambda config: config['type'])
def test_pixels_depend_on_seed_and_image_alone(config):
    def of(image_id=3, seed=0):
        return TRANSFORMS.build(config | dict(seed=seed))(scene(image_id=image_id))['img']

    expected = of()
    np.random.seed(5)
    torch.manual_seed(5)
    transform = TRANSFORMS.build(config)
    for image_id in (1, 2):  # what was drawn before does not matter
        transform(scene(image_id=image_id))
    assert np.array_equal(pickle.loads(pickle.dumps(transform))(scene())['img'], expected)
    many = {of(image_id).tobytes() for image_id in range(12)}
    assert len(many) > 1 and len({of(seed=seed).tobytes() for seed in range(12)}) > 1


def pixels_of(digits, sampler_of, workers):  # noqa: F811
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='RandomPatch'),
        dict(type='FlipPatch'),
        dict(type='GaussianNoise'),
        dict(type='PackDetInputs', meta_keys=('img_id',)),
    ]
    dataset = DATASETS.build(
        dict(
            type='CocoDataset', data_root=f'{digits}/', ann_file='annotations/instances_train.json',
            data_prefix=dict(img='train/'), metainfo=dict(classes=tuple('0123456789')),
            test_mode=True, pipeline=pipeline,
        )
    )  # fmt: skip
    loader = DataLoader(
        dataset, batch_size=2, sampler=sampler_of(dataset), num_workers=workers,
        collate_fn=pseudo_collate,
    )  # fmt: skip
    return {
        sample.img_id: image.numpy()
        for batch in loader
        for image, sample in zip(batch['inputs'], batch['data_samples'])
    }


def test_workers_processes_and_order_change_nothing(digits, monkeypatch):  # noqa: F811
    init_default_scope('mmdet')
    expected = pixels_of(digits, lambda dataset: range(6), 0)
    assert len(expected) == 6

    def check(found):
        assert found and all(np.array_equal(found[key], expected[key]) for key in found)

    check(pixels_of(digits, lambda dataset: range(6), 2))
    check(pixels_of(digits, lambda dataset: [5, 0, 3], 0))
    parts = []
    for rank in range(2):  # as each of two processes samples
        monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info', lambda rank=rank: (rank, 2))
        parts.append(pixels_of(digits, lambda dataset: DefaultSampler(dataset, seed=0), 0))
        check(parts[-1])
    assert set(parts[0]) | set(parts[1]) == set(expected) and len(parts[0]) == 3


# --- mistakes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'make, message',
    [
        (lambda: BlackPatch(extent='half'), "extent must be one of .*'either'.*, got 'half'"),
        (lambda: FlipPatch(seed=-1), 'seed must be an integer of at least 0, got -1'),
        (lambda: FlipPatch(seed=1.5), 'seed must be an integer of at least 0, got 1.5'),
        (lambda: GaussianNoise(-0.1), 'variance must not be negative, got -0.1'),
        (lambda: AdversarialPatch(PATCH, rotation=181), r'rotation must be in \[0, 180\].*181'),
        (lambda: AdversarialPatch(PATCH[..., 0]), 'patch must be an image of three channels'),
    ],
)
def test_wrong_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda r: r.update(ori_shape=(84, 120)), 'right after the transform that loads'),
        (lambda r: r.update(flip=True), 'right after the transform that loads'),
        (lambda r: r.pop('instances'), "RandomPatch needs 'instances': the data set has no boxes"),
        (lambda r: r.pop('img_id'), "'img_id'"),
    ],
)
def test_a_place_in_the_pipeline_where_boxes_do_not_fit(change, message):
    results = scene()
    change(results)
    with pytest.raises(ValueError, match=message):
        RandomPatch()(results)
