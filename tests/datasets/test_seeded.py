# ruff: noqa: E402
"""Augmentation is a function of (seed, epoch, index): a resumed run draws what the other drew."""

import itertools
import pickle
import random

import numpy as np
import pytest
import torch

from rankdet import compat

compat.install()  # first: it serves what mmdet imports

from mmdet.datasets.samplers import AspectRatioBatchSampler
from mmengine.config import ConfigDict
from mmengine.dataset import BaseDataset, ConcatDataset, RepeatDataset
from mmengine.model import BaseModel
from mmengine.runner import Runner

from rankdet.datasets.seeded import (
    SeededDataset,
    SeededIndex,
    SeededInfiniteSampler,
    SeededSampler,
)

SIZE = 11  # not a multiple of the batch size or the number of processes
LOADERS = [(0, False), (2, False), (2, True)]  # workers, persistent


def augment(info):
    """Numbers from every generator; one sample in four is empty and drawn again."""
    if np.random.rand() < 0.25:
        return None
    draws = [random.random(), np.random.rand(), torch.rand(()).item()]
    return dict(inputs=torch.tensor([info['sample_idx'], *draws], dtype=torch.float64))


class Toy(BaseDataset):
    def __init__(self, pipeline=(augment,), **kwargs):
        super().__init__(pipeline=list(pipeline), **kwargs)

    def load_data_list(self):
        return [dict(width=1 + i % 3, height=2) for i in range(SIZE)]


def build_loader(workers=0, persistent=False, infinite=False, dataset=None, seed=5, **options):
    kind = SeededInfiniteSampler if infinite else SeededSampler
    config = dict(
        batch_size=3,
        num_workers=workers,
        persistent_workers=persistent,
        dataset=SeededDataset(Toy() if dataset is None else dataset),
        sampler=ConfigDict(type=kind, shuffle=True),
    )
    return Runner.build_dataloader({**config, **options}, seed=seed)


def draw_epoch(loader, epoch):
    loader.sampler.set_epoch(epoch)
    return [batch['inputs'] for batch in loader]


def same(a, b):
    return len(a) == len(b) and all(
        torch.equal(torch.stack(x), torch.stack(y)) for x, y in zip(a, b)
    )


# --- one sample --------------------------------------------------------------------------------


def sample(epoch, index, seed=5, dataset=None):
    return SeededDataset(dataset or Toy())[SeededIndex(index, (seed, epoch))]['inputs']


def test_a_sample_does_not_depend_on_what_was_drawn_before():
    alone = sample(2, 4)
    random.seed(99)
    np.random.seed(99)
    torch.manual_seed(99)
    dataset = SeededDataset(Toy())
    for index in range(SIZE):
        dataset[SeededIndex(index, (5, 1))]
    assert torch.equal(dataset[SeededIndex(4, (5, 2))]['inputs'], alone)


def test_samples_differ_by_seed_epoch_and_index():
    draws = [
        tuple(sample(epoch, index, seed)[1:].tolist())
        for seed, epoch, index in itertools.product((0, 1), (0, 1, 2), range(4))
    ]
    for generator in zip(*draws):
        assert len(set(generator)) == len(draws)


def test_generators_do_not_repeat_one_another():
    """One seed for three generators must not give the same stream twice."""

    def draw(info):
        with_random = random.Random()
        with_random.setstate(random.getstate())
        return dict(inputs=torch.tensor([with_random.random(), np.random.rand(), torch.rand(())]))

    values = sample(0, 0, dataset=Toy(pipeline=[draw])).tolist()
    assert len({round(value, 6) for value in values}) == 3


def test_other_draws_go_on_undisturbed():
    """The generators of the process come back as they were, also from a failed sample."""

    def draw():
        return random.random(), np.random.rand(), torch.rand(()).item()

    def fail(info):
        raise RuntimeError('broken')

    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(0)
    expected = draw()
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(0)
    sample(0, 0)
    with pytest.raises(RuntimeError, match='broken'):
        sample(0, 0, dataset=Toy(pipeline=[fail]))
    assert draw() == expected


def test_plain_indices_are_not_seeded():
    dataset = SeededDataset(Toy())
    assert not torch.equal(dataset[0]['inputs'], dataset[0]['inputs'])


def test_an_index_is_an_integer_that_survives_a_queue():
    index = pickle.loads(pickle.dumps(SeededIndex(7, (1, 2))))
    assert index == 7 and hash(index) == hash(7) and [*range(9)][index] == 7
    assert type(index) is SeededIndex and index.entropy == (1, 2)


def test_the_wrapper_is_transparent_and_can_be_pickled():
    dataset = pickle.loads(pickle.dumps(SeededDataset(Toy(metainfo=dict(classes=('a', 'b'))))))
    assert len(dataset) == SIZE and dataset.metainfo == dict(classes=('a', 'b'))
    assert dataset.get_data_info(3)['height'] == 2
    assert not hasattr(dataset, 'nonsense') and not hasattr(dataset, '__getitems__')
    dataset.pipeline = 'switched'
    assert dataset.dataset.pipeline == 'switched'


@pytest.mark.parametrize('sampler', [SeededSampler, SeededInfiniteSampler])
def test_the_wrapper_must_not_be_forgotten(sampler):
    with pytest.raises(ValueError, match=rf'{sampler.__name__} needs .*SeededDataset.* got Toy'):
        sampler(Toy(), seed=0)


# --- loaders -----------------------------------------------------------------------------------


@pytest.mark.parametrize('workers, persistent', LOADERS)
def test_an_epoch_is_the_same_after_a_restart(workers, persistent):
    run = build_loader()
    expected = [draw_epoch(run, epoch) for epoch in range(3)]
    assert not same(expected[0], expected[1])
    whole = build_loader(workers, persistent)
    assert all(same(draw_epoch(whole, epoch), expected[epoch]) for epoch in range(3))
    resumed = build_loader(workers, persistent)
    assert same(draw_epoch(resumed, 2), expected[2])


def test_without_seeding_the_worker_makes_a_difference():
    """The experiment can fail: the stock sampler, same seed, draws something else on resume."""

    def build():
        stock = ConfigDict(type='DefaultSampler', shuffle=True)
        return build_loader(2, True, dataset=Toy(), sampler=stock)

    run, resumed = build(), build()
    draw_epoch(run, 0)
    assert not same(draw_epoch(run, 1), draw_epoch(resumed, 1))


@pytest.mark.parametrize('workers, persistent', LOADERS)
def test_an_infinite_stream_is_the_same_after_a_skip(workers, persistent):
    loader = build_loader(infinite=True)
    expected = [batch['inputs'] for batch in itertools.islice(loader, 9)]
    resumed = build_loader(workers, persistent, infinite=True)
    if hasattr(resumed.sampler, 'skip'):
        resumed.sampler.skip(5 * 3)
        actual = [batch['inputs'] for batch in itertools.islice(resumed, 4)]
    else:
        actual = [batch['inputs'] for batch in itertools.islice(resumed, 5, 9)]
    assert same(actual, expected[5:])


def test_an_infinite_stream_changes_with_every_pass():
    stream = iter(SeededInfiniteSampler(SeededDataset(Toy()), seed=3))
    first, second = ([next(stream) for _ in range(SIZE)] for _ in range(2))
    assert sorted(first) == sorted(second) == list(range(SIZE))
    assert {i.entropy for i in first} == {(3, 0)} and {i.entropy for i in second} == {(3, 1)}


@pytest.mark.parametrize('kind', [SeededSampler, SeededInfiniteSampler])
def test_processes_share_the_epochs_of_one(monkeypatch, kind):
    """Two processes together draw the samples that one process draws, each under its own seed."""

    def draw(rank, world):
        monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info', lambda: (rank, world))
        sampler = kind(SeededDataset(Toy()), seed=3)
        return [(int(i), i.entropy) for i in itertools.islice(sampler, 22 // world)]

    alone = draw(0, 1)
    together = [*itertools.chain(*zip(draw(0, 2), draw(1, 2)))]
    assert together[: len(alone)] == alone


def test_order_is_that_of_the_stock_samplers():
    from mmengine.dataset import DefaultSampler, InfiniteSampler

    dataset = SeededDataset(Toy())
    for ours, stock in ((SeededSampler, DefaultSampler), (SeededInfiniteSampler, InfiniteSampler)):
        for shuffle in (True, False):
            a, b = (kind(dataset, shuffle=shuffle, seed=1) for kind in (ours, stock))
            a.set_epoch(4)
            b.set_epoch(4)
            assert list(itertools.islice(a, 25)) == list(itertools.islice(b, 25))


@pytest.mark.parametrize('workers, persistent', LOADERS)
def test_batches_of_one_aspect_ratio(workers, persistent):
    batches = ConfigDict(type=AspectRatioBatchSampler)

    def build(*args):
        return build_loader(*args, batch_sampler=batches)

    def draw(loader, epoch):
        loader.batch_sampler.sampler.set_epoch(epoch)
        return [batch['inputs'] for batch in loader]

    run, resumed = build(), build(workers, persistent)
    expected = [draw(run, epoch) for epoch in range(2)]
    assert same(draw(resumed, 1), expected[1])


def test_sliced_epochs():
    loaders = [build_loader(num_batch_per_epoch=2) for _ in range(2)]
    first = [draw_epoch(loaders[0], epoch) for epoch in range(2)]
    assert len(first[0]) == 2 and same(draw_epoch(loaders[1], 1), first[1])


@pytest.mark.parametrize(
    'dataset',
    [
        lambda: RepeatDataset(Toy(), times=2),
        lambda: ConcatDataset([Toy(), Toy()]),
    ],
    ids=['repeat', 'concat'],
)
def test_around_other_wrappers(dataset):
    run, resumed = (build_loader(dataset=dataset()) for _ in range(2))
    expected = [draw_epoch(run, epoch) for epoch in range(2)]
    assert sum(map(len, expected[0])) == 2 * SIZE
    assert same(draw_epoch(resumed, 1), expected[1])
    rows = torch.cat([torch.stack(batch) for batch in expected[0]])[:, 1:]
    assert len(rows.unique(dim=0)) == 2 * SIZE  # the repeated samples are not copies


# --- real transforms ---------------------------------------------------------------------------


@pytest.fixture(scope='module')
def scenes(tmp_path_factory):
    pytest.importorskip('sklearn')
    from rankdet.datasets.digits import make_digits

    return make_digits(tmp_path_factory.mktemp('seeded') / 'd', num_train=4, num_val=1, size=96)


def detection_dataset(root, mosaic):
    load = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True)]
    train = [
        dict(type='RandomCrop', crop_size=(48, 48), allow_negative_crop=False),
        dict(type='RandomResize', scale=(64, 64), ratio_range=(0.5, 2.0), keep_ratio=True),
        dict(type='RandomFlip', prob=0.5),
        dict(type='PhotoMetricDistortion'),
        dict(type='PackDetInputs', meta_keys=('img_id', 'flip')),
    ]
    images = dict(
        type='CocoDataset',
        _scope_='mmdet',
        data_root=str(root),
        ann_file='annotations/instances_train.json',
        data_prefix=dict(img='train/'),
        metainfo=dict(classes=tuple('0123456789')),
        pipeline=load + (train if not mosaic else []),
    )
    if not mosaic:
        return images
    mix = [dict(type='Mosaic', img_scale=(64, 64)), *train[2:]]
    return dict(type='MultiImageMixDataset', _scope_='mmdet', dataset=images, pipeline=mix)


@pytest.mark.parametrize('mosaic', [False, True])
def test_real_augmentation(scenes, mosaic):
    def draw(loader, epoch):
        loader.sampler.set_epoch(epoch)
        samples = []
        for batch in loader:
            for image, sample in zip(batch['inputs'], batch['data_samples']):
                samples.append((image, sample.gt_instances.bboxes.tensor))
        return samples

    config = detection_dataset(scenes, mosaic)
    run = build_loader(dataset=config)
    expected = [draw(run, epoch) for epoch in range(2)]
    actual = draw(build_loader(2, True, dataset=config), 1)
    for sample, other in zip(actual, expected[1]):
        assert all(torch.equal(a, b) for a, b in zip(sample, other))
    shapes = [{tuple(image.shape) + (int(image.sum()),) for image, _ in e} for e in expected]
    assert not shapes[0] & shapes[1]


# --- a killed run ------------------------------------------------------------------------------


class Recorder(BaseModel):
    """Keeps what it sees, and learns from it."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(4, dtype=torch.float64))
        self.seen = []

    def forward(self, inputs, mode='loss'):
        rows = torch.stack(inputs)
        self.seen.append(rows)
        return dict(loss=((rows @ self.weight) - 1).pow(2).mean())


def train(work_dir, loader, by_epoch, until, resume=False):
    model = Recorder()
    length = dict(max_epochs=until) if by_epoch else dict(max_iters=until)
    runner = Runner(
        model=model,
        work_dir=str(work_dir),
        train_dataloader=loader,
        train_cfg=dict(by_epoch=by_epoch, **length),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9)),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1, by_epoch=by_epoch)),
        randomness=dict(seed=5),
        resume=resume,
        log_level='ERROR',
        experiment_name=f'{work_dir.name}-{until}-{resume}',
    )
    runner.train()
    # Let the workers go here: left to the collector of cycles, each would take five seconds.
    loader._iterator = None
    if not by_epoch:
        runner.train_loop.dataloader_iterator._iterator = None
    return model


@pytest.mark.parametrize('by_epoch', [True, False])
@pytest.mark.parametrize('workers, persistent', LOADERS)
def test_a_resumed_run_equals_one_without_a_break(tmp_path, by_epoch, workers, persistent):
    def loader():
        return build_loader(workers, persistent, infinite=not by_epoch)

    last, killed = (3, 2) if by_epoch else (9, 5)
    whole = train(tmp_path / 'whole', loader(), by_epoch, last)
    train(tmp_path / 'broken', loader(), by_epoch, killed)
    resumed = train(tmp_path / 'broken', loader(), by_epoch, last, resume=True)
    assert 0 < len(resumed.seen) < len(whole.seen)
    for a, b in zip(resumed.seen, whole.seen[-len(resumed.seen) :]):
        assert torch.equal(a, b)
    assert torch.equal(resumed.weight, whole.weight)
