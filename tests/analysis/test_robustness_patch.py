"""The adversarial patch: it lowers what it should, and a killed run goes on exactly."""

import copy

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate

import rankdet.plugin  # noqa: F401
from rankdet.analysis.robustness import adversarial_patch as module
from rankdet.analysis.robustness.adversarial_patch import PatchOptions, make_patch, objective
from rankdet.analysis.robustness.detector import (
    build_dataset,
    find_detectors,
    load_model,
    measure,
    objects_of,
    truth_of,
)
from rankdet.engine.errors import UserError
from tests.analysis import robustness_toy as toy

OPTIONS = PatchOptions(steps=12, batch=3, size=8, lr=0.1, save_every=5)


@pytest.fixture(scope='module')
def attacked(tmp_path_factory):
    """Config, model, and training images of the toy."""
    root = tmp_path_factory.mktemp('toy')
    data = toy.write_data(root / 'data', dict(train=5, test=8))
    config = toy.write_config(root / 'toy.py', data)
    checkpoint = toy.write_checkpoint(root / 'toy.pth')
    (detector,) = find_detectors([str(config), str(checkpoint)])
    return detector.cfg, load_model(detector, 'cpu'), build_dataset(detector.cfg, split='train')


def batch(dataset):
    return pseudo_collate([dataset[index] for index in range(len(dataset))])


def test_the_objective_is_the_mean_score_of_the_objects(attacked):
    """Without a patch to see: the logit of each object's class from the mean colour of its cell."""
    _, model, dataset = attacked
    options = PatchOptions(scale=(1e-9, 1e-9), shift=0.0)  # a dot of a pixel
    expected, dots = [], []
    for index in range(len(dataset)):
        data = dataset[index]
        image = data['inputs'].double().numpy()
        for box, label in zip(*objects_of(data['data_samples'])):
            x, y = map(int, box[:2].tolist())
            means = image[:, y : y + toy.CELL, x : x + toy.CELL].mean((1, 2))
            means = (means - 128) / 64
            expected.append(4.5 * means[label] - 1.5 * means.sum())
            dots.append(abs(4.5 * 128 / 64 / toy.CELL**2) * 4)
    found = objective(model, batch(dataset), torch.full((3, 8, 8), 0.5), options, step=0)
    assert len(expected) == 14
    assert float(found) == pytest.approx(np.mean(expected), abs=max(dots))


def test_the_patch_blinds_the_detector_on_images_it_has_not_seen(attacked, tmp_path):
    cfg, model, dataset = attacked
    picture = make_patch(model, dataset, OPTIONS, tmp_path, 'key')
    state = torch.load(tmp_path / 'adversarial_patch.pt', weights_only=True)
    assert len(state['history']) == 12 and state['history'][-1] < state['history'][0] - 0.3

    def measured(perturbation=None):
        images = build_dataset(cfg, perturbation=perturbation)
        truth = truth_of(images, toy.CLASSES)
        return measure(model, images, truth, workers=0, batch=2)

    grey = np.full((8, 8, 3), 128, np.uint8)
    clean = measured()
    dull = measured(dict(type='AdversarialPatch', patch=grey))
    blind = measured(dict(type='AdversarialPatch', patch=str(picture)))
    assert clean == pytest.approx(dict(AP=1, AP50=1, objects=23, images=8))
    assert blind['AP50'] < dull['AP50'] - 0.05 and blind['AP50'] < 0.9

    unseen = batch(build_dataset(cfg))
    worn = torch.from_numpy(cv2.imread(str(picture)) / np.float32(255)).permute(2, 0, 1)
    values = [objective(model, unseen, p, OPTIONS, 99) for p in (torch.full_like(worn, 0.5), worn)]
    assert values[1] < values[0] - 0.3


def test_the_gradient_is_that_of_the_objective(attacked):
    _, model, dataset = attacked
    data, options = batch(dataset), PatchOptions(size=4)
    patch = torch.rand(3, 4, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(objective(model, data, patch, options, 0), patch)
    with torch.no_grad():
        for at in ((0, 1, 1), (2, 3, 2)):
            moved = [patch.clone() for _ in range(2)]
            for sign, one in zip((-1, 1), moved):
                one[at] += sign * 0.05
            low, high = (objective(model, data, one, options, 0) for one in moved)
            assert float(gradient[at]) == pytest.approx(float(high - low) / 0.1, rel=2e-2)


def test_a_step_depends_on_seed_and_step_alone(attacked):
    _, model, dataset = attacked
    patch = torch.rand(3, 8, 8)

    def value(step=3, seed=0):
        options = PatchOptions(seed=seed)
        return float(objective(model, batch(dataset), patch, options, step))

    expected = value()
    np.random.seed(7)
    torch.manual_seed(7)
    assert value() == expected != value(step=4) and value(seed=1) != expected
    draws = {tuple(module._draw(range(50), OPTIONS, step)) for step in range(20)}
    assert len(draws) == 20 and all(len(set(one)) == 3 for one in draws)


class Killed(Exception):
    pass


def kill_at(monkeypatch, step):
    """End a run when it comes to a step."""

    def dying(*args):
        if args[-1] == step:
            raise Killed
        return objective(*args)

    monkeypatch.setattr(module, 'objective', dying)


def steps_taken(monkeypatch):
    taken = []

    def counting(*args):
        taken.append(args[-1])
        return objective(*args)

    monkeypatch.setattr(module, 'objective', counting)
    return taken


def same(one, other):
    states = [torch.load(f / 'adversarial_patch.pt', weights_only=True) for f in (one, other)]
    assert states[0]['history'] == states[1]['history']
    assert torch.equal(states[0]['patch'], states[1]['patch'])
    pictures = [(folder / 'adversarial_patch.png').read_bytes() for folder in (one, other)]
    assert pictures[0] == pictures[1]


def test_a_killed_run_goes_on_exactly(attacked, tmp_path, monkeypatch):
    _, model, dataset = attacked
    make_patch(model, dataset, OPTIONS, tmp_path / 'whole', 'key')
    for step in (8, 3):  # after a save at 5; and, for another folder, before any
        folder = tmp_path / f'killed at {step}'
        kill_at(monkeypatch, step)
        with pytest.raises(Killed):
            make_patch(model, dataset, OPTIONS, folder, 'key')
        assert not (folder / 'adversarial_patch.png').exists()
        np.random.seed(11)
        torch.manual_seed(11)
        taken = steps_taken(monkeypatch)
        make_patch(model, dataset, OPTIONS, folder, 'key')
        assert taken == list(range(5 if step == 8 else 0, 12))
        same(tmp_path / 'whole', folder)


def test_what_is_made_is_not_made_again_and_more_steps_go_on(attacked, tmp_path, monkeypatch):
    _, model, dataset = attacked
    fewer = PatchOptions(**{**vars(OPTIONS), 'steps': 7})
    make_patch(model, dataset, OPTIONS, tmp_path / 'whole', 'key')
    make_patch(model, dataset, fewer, tmp_path / 'part', 'key')
    taken = steps_taken(monkeypatch)
    make_patch(model, dataset, fewer, tmp_path / 'part', 'key')
    assert not taken
    make_patch(model, dataset, OPTIONS, tmp_path / 'part', 'key', workers=1)
    assert taken == list(range(7, 12))
    same(tmp_path / 'whole', tmp_path / 'part')
    taken.clear()
    make_patch(model, dataset, fewer, tmp_path / 'part', 'key')
    assert taken == list(range(7))  # of more steps none can be taken back
    taken.clear()
    make_patch(model, dataset, fewer, tmp_path / 'part', 'another key')
    assert taken == list(range(7))
    (tmp_path / 'part/adversarial_patch.pt').write_bytes(b'cut short')
    make_patch(model, dataset, fewer, tmp_path / 'part', 'another key')
    assert taken == 2 * list(range(7))


def test_a_patch_that_never_met_an_object_is_an_error(attacked, tmp_path):
    """Boxes of a detector that are too small for any object leave nothing to minimise."""
    _, sound, dataset = attacked
    model = copy.deepcopy(sound)
    model.bbox_head.retina_reg.bias[2:] = -2.0  # width and height times exp(-2)
    for steps in (2, 2, 3):  # made, found made, and gone on with
        options = PatchOptions(**{**vars(OPTIONS), 'steps': steps})
        with pytest.raises(UserError, match=rf'none of the {steps} steps .* by --only original'):
            make_patch(model, dataset, options, tmp_path, 'key')
        assert not (tmp_path / 'adversarial_patch.png').exists()
    options = PatchOptions(**{**vars(OPTIONS), 'steps': 4})
    assert make_patch(sound, dataset, options, tmp_path, 'key').is_file()  # one step is enough


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(steps=0), 'steps must be at least 1, got 0'),
        (dict(lr=0.0), 'lr must be positive, got 0.0'),
        (dict(rotation=200.0), r'rotation must be in \[0, 180\] degrees, got 200.0'),
        (dict(shift=-0.1), 'shift must not be negative, got -0.1'),
        (dict(scale=(1.2, 0.8)), r'scale must be two ascending .*, got \(1.2, 0.8\)'),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        PatchOptions(**options)
