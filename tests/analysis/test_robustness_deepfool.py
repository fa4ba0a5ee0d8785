"""DeepFool against closed forms; a killed attack goes on where it was."""

import copy
import json
import math

import numpy as np
import pytest
import torch

import rankdet.plugin  # noqa: F401
from rankdet.analysis.robustness import deepfool as module
from rankdet.analysis.robustness.deepfool import (
    BEYOND,
    DeepFoolOptions,
    deepfool,
    least_perturbation,
    summary,
)
from rankdet.analysis.robustness.detector import build_dataset, find_detectors, load_model
from tests.analysis import robustness_toy as toy

OVER = 1.02


@pytest.fixture(scope='module')
def attacked(tmp_path_factory):
    """Model and test images of the toy."""
    root = tmp_path_factory.mktemp('toy')
    data = toy.write_data(root / 'data', dict(train=2, test=4))
    config = toy.write_config(root / 'toy.py', data)
    checkpoint = toy.write_checkpoint(root / 'toy.pth')
    (detector,) = find_detectors([str(config), str(checkpoint)])
    return load_model(detector, 'cpu'), build_dataset(detector.cfg)


@pytest.mark.parametrize('seed', range(5))
def test_an_affine_classifier_is_one_step_away(seed):
    rng = np.random.default_rng(seed)
    weights, bias, image = rng.normal(size=(6, 12)), rng.normal(size=6), rng.normal(size=(3, 2, 2))
    logits = weights @ image.ravel() + bias
    best = int(logits.argmax())
    rivals = [k for k in range(6) if k != best]
    # the distance of a point from each of the planes f_k = f_best
    distances = [
        (logits[best] - logits[k]) / np.linalg.norm(weights[k] - weights[best]) for k in rivals
    ]
    nearest = rivals[int(np.argmin(distances))]
    w, b = torch.tensor(weights), torch.tensor(bias)
    found = least_perturbation(lambda x: w @ x.flatten() + b, torch.tensor(image))
    assert found.changed and found.label == nearest and found.iterations == 1
    direction = weights[nearest] - weights[best]
    expected = OVER * (min(distances) + BEYOND) * direction / np.linalg.norm(direction)
    assert np.abs(found.pixels.numpy().ravel() - expected).max() < 1e-12


def test_a_curved_boundary_is_found_near_its_nearest_point():
    """f_1 - f_0 = log |x|^2 / 4: from (0.6, 0.8) the circle of radius 2 is 1 away."""

    def scores(x):
        return torch.stack([x.new_zeros(()), (x.square().sum() / 4).log()])

    found = least_perturbation(scores, torch.tensor([0.6, 0.8], dtype=torch.float64))
    assert found.changed and found.iterations > 1
    assert 1 <= float(found.pixels.norm()) < 1.05
    few = least_perturbation(
        lambda x: torch.stack([x.new_zeros(()), -1 - x.square().sum()]),  # it only gets worse
        torch.tensor([0.6, 0.8], dtype=torch.float64),
        DeepFoolOptions(max_iter=3),
    )
    assert not few.changed and few.iterations <= 3 and few.label == 0


def test_classes_that_are_not_tried_are_not_reached():
    """The third best class is the nearest one, but only the two best ones are tried."""
    weights = torch.tensor([[0.0, 0.0], [0.1, 0.0], [0.0, 50.0]], dtype=torch.float64)
    bias = torch.tensor([1.0, 0.9, 0.5], dtype=torch.float64)
    image = torch.zeros(2, dtype=torch.float64)

    def scores(x):
        return weights @ x + bias

    assert least_perturbation(scores, image).label == 2
    assert least_perturbation(scores, image, DeepFoolOptions(classes=2)).label == 1


def test_scores_that_do_not_move_withstand():
    found = least_perturbation(lambda x: x.sum() * 0 + torch.tensor([1.0, 0.0]), torch.ones(3))
    assert not found.changed and not found.pixels.any()


def test_a_linear_detector_against_the_closed_form(attacked, tmp_path):
    model, dataset = attacked
    found = deepfool(model, dataset, DeepFoolOptions(), tmp_path / 'a.jsonl', 'key')
    expected, relative = [], []
    for data in (dataset[index] for index in range(len(dataset))):
        image = data['inputs'].permute(1, 2, 0).numpy()
        for one in data['data_samples'].instances:
            if not one['ignore_flag']:
                x, y = map(int, one['bbox'][:2])
                expected.append(OVER * (toy.least_l2(image, (x, y), one['bbox_label']) + BEYOND))
                relative.append(expected[-1] / np.linalg.norm(image.astype(float)))
    assert len(expected) == 11  # three on each image, but for a crowd
    assert found['fooled'] == 11 and found['missed'] == found['withstood'] == 0
    assert found['L2'] == pytest.approx(np.mean(expected), rel=1e-4)
    assert found['relative'] == pytest.approx(np.mean(relative), rel=1e-4)
    lines = [json.loads(line) for line in (tmp_path / 'a.jsonl').read_text().splitlines()[1:]]
    each = [one['l2'] for line in lines for one in line['objects']]
    assert each == pytest.approx(expected, rel=1e-3)
    assert all(one['becomes'] != one['label'] for line in lines for one in line['objects'])


def test_objects_called_wrong_before_are_counted_and_left_alone(attacked):
    model, dataset = attacked
    data = dataset[1]
    sample = data['data_samples'].clone()
    instances = [dict(one) for one in sample.instances]
    instances[0]['bbox_label'] = (instances[0]['bbox_label'] + 1) % 3
    instances[1]['bbox'] = [200, 200, 216, 216]  # where no candidate lies
    sample.set_metainfo(dict(instances=instances))
    found = module.attack_image(model, data['inputs'], sample, DeepFoolOptions())
    assert found['missed'] == 2 and len(found['objects']) == 1


class Killed(Exception):
    pass


class CutShort:
    """A data set that ends a run at its third image, and counts what is looked at."""

    def __init__(self, dataset, at=2):
        self.dataset, self.at, self.seen = dataset, at, []
        self.get_data_info = dataset.get_data_info

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        if index == self.at:
            raise Killed
        self.seen.append(index)
        return self.dataset[index]


def test_a_killed_attack_goes_on_exactly(attacked, tmp_path):
    model, dataset = attacked
    whole, killed = tmp_path / 'whole.jsonl', tmp_path / 'killed.jsonl'
    expected = deepfool(model, dataset, DeepFoolOptions(), whole, 'key')
    with pytest.raises(Killed):
        deepfool(model, CutShort(dataset), DeepFoolOptions(), killed, 'key')
    with killed.open('a') as file:
        file.write('{"image": 2, "obje')  # the kill came in the middle of a line
    rest = CutShort(dataset, at=None)
    assert deepfool(model, rest, DeepFoolOptions(), killed, 'key') == expected
    assert rest.seen == [2, 3] and killed.read_bytes() == whole.read_bytes()
    again = CutShort(dataset, at=None)
    assert deepfool(model, again, DeepFoolOptions(), killed, 'key') == expected
    assert not again.seen
    deepfool(model, again, DeepFoolOptions(), killed, 'another key')
    assert again.seen == [0, 1, 2, 3]


def test_progress_is_by_object(attacked, tmp_path, monkeypatch):
    """Eleven, some called wrong; an attack that goes on counts what was done before."""
    model, dataset = attacked
    shown = []

    class Shown:
        def __init__(self, what, total, done):
            shown.append((total, done))

        def __call__(self, done, note):
            shown.append((done, note))

    monkeypatch.setattr(module, 'TimeLeft', Shown)
    model = copy.deepcopy(model)
    model.bbox_head.retina_cls.bias.data[2] -= 9  # blind to red
    with pytest.raises(Killed):
        deepfool(model, CutShort(dataset), DeepFoolOptions(), tmp_path / 'a.jsonl', 'key')
    found = deepfool(model, dataset, DeepFoolOptions(), tmp_path / 'a.jsonl', 'key')
    assert found['missed'] and found['missed'] + found['fooled'] == 11
    images = [f'image {image}/4' for image in (1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4)]
    calls = list(enumerate(images, 1))
    assert shown == [(11, 0), *calls[:5], (11, 5), *calls[5:]]


def test_a_file_of_another_kind_is_replaced(attacked, tmp_path):
    model, dataset = attacked
    for text in ('', 'no json\n', '{"key": "key"', '[1]\n'):
        (tmp_path / 'a.jsonl').write_text(text)
        seen = CutShort(dataset, at=None)
        deepfool(model, seen, DeepFoolOptions(), tmp_path / 'a.jsonl', 'key')
        assert seen.seen == [0, 1, 2, 3]


def test_the_mean_is_of_what_was_fooled():
    one = dict(l2=2.0, relative=0.1, changed=True)
    records = [
        dict(objects=[one, one | dict(l2=4.0, relative=0.3)], missed=1),
        dict(objects=[one | dict(l2=9.0, changed=False)], missed=2),
    ]
    assert summary(records) == dict(L2=3.0, relative=0.2, fooled=2, withstood=1, missed=3, images=2)
    assert math.isnan(summary([])['L2'])


@pytest.mark.parametrize('name, value', [('max_iter', 0), ('overshoot', -0.1), ('classes', 1)])
def test_wrong_options_are_named(name, value):
    with pytest.raises(ValueError, match=f'{name} must be at least .*, got {value}'):
        DeepFoolOptions(**{name: value})
