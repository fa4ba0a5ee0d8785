"""The three optimisations of AP, and training on the anchors of an RPN."""

import importlib
import json
from dataclasses import replace

import pytest
import torch
from mmengine.config import Config

import rankdet.plugin  # noqa: F401
from rankdet.analysis import figures
from rankdet.analysis.figures import proposals
from rankdet.analysis.figures.proposals import keep_samples, rpn_model
from rankdet.analysis.figures.trainings import train_once, training_digest
from rankdet.engine.errors import UserError
from tests.engine import tiny
from tests.engine.tiny import digits  # noqa: F401

torch.set_num_threads(1)
# The function of the same name hides it.
module = importlib.import_module('rankdet.analysis.figures.convergence')


@pytest.fixture(scope='module')
def shared(digits, tmp_path_factory):  # noqa: F811
    folder = tmp_path_factory.mktemp('trials')
    lines = []
    config = tiny.write(folder / 'config.py', digits)
    return figures.Trials(config, folder / 'work', iterations=2, report=lines.append), lines


def folder_of(trials, name):
    """The only training of this name; what follows is the digest."""
    (folder,) = trials.work_dir.glob(f'{name}-????????????')
    return folder


def records_of(trials, name):
    (path,) = folder_of(trials, name).glob('*/vis_data/losses.jsonl')
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_three_curves_from_the_same_start(shared):
    trials, lines = shared
    data = figures.convergence(trials, window=1)
    assert [curve['label'] for curve in data['curves']] == list(module.METHODS)
    assert len(lines) == 3
    firsts = []
    for loss, curve in zip(module.METHODS.values(), data['curves']):
        assert curve['steps'] == [1, 2]
        records = records_of(trials, f'all_{loss}_seed0')
        assert curve['mean'] == [record['ap_loss'] for record in records]
        firsts.append(records[0])
    # One set of weights and one batch: the same AP-loss, but another loss that is minimised.
    assert len({round(first['ap_loss'], 6) for first in firsts}) == 1
    assert len({round(first['loss_cls'], 4) for first in firsts}) == 3
    figures.draw_convergence(data)

    again = figures.convergence(trials, window=2)
    assert len(lines) == 3  # nothing was trained again
    assert again['curves'][0]['mean'] == [pytest.approx(sum(data['curves'][0]['mean']) / 2)]


def test_box_regression_is_off(shared):
    trials, _ = shared
    figures.convergence(trials)
    folder = folder_of(trials, 'all_APLoss_seed0')
    state = tiny.weights(folder / 'iter_2.pth')
    cfg = trials.settings(0)
    assert cfg.train_cfg.max_iters == 2 and cfg.val_dataloader is None
    logged = [
        json.loads(line)
        for path in folder.glob('*/vis_data/scalars.json')
        for line in path.read_text().splitlines()
    ]
    assert all(record['loss_bbox'] == 0 for record in logged if 'loss_bbox' in record)
    assert 'bbox_head.retina_cls.weight' in state


def test_samples_of_an_rpn(shared, monkeypatch):
    trials, _ = shared
    kept = []

    def spy(labels, weights, chosen, num_classes):
        found = keep_samples(labels, weights, chosen, num_classes)
        kept.append((torch.cat(labels, 1), torch.cat(found, 1), chosen))
        return found

    monkeypatch.setattr('rankdet.analysis.figures.proposals.keep_samples', spy)
    monkeypatch.setattr(module, 'METHODS', {'error-driven update': 'APLoss'})
    monkeypatch.setattr(module, 'NOT_CONVERGED', -1.0)  # nothing converges
    data = figures.imbalance(trials, [20, 5], rpn_iterations=1)
    (curve,) = data['curves']
    assert curve['samples'] == [5, 20] and curve['from_snapshot'] == [False, True]
    for labels, weights, chosen in kept:
        assert set(chosen.sum(1).tolist()) <= {5, 20}
        positive = labels < 10
        assert (weights[positive] > 0).all() and (weights[~positive & ~chosen] == 0).all()
    loss = records_of(trials, 'top20-from-top5_APLoss_seed0')[-1]['ap_loss']
    assert curve['final'][1] == pytest.approx(loss)
    assert not list(trials.work_dir.glob('top5-from*'))
    figures.draw_imbalance(data)


def test_other_options_are_other_trainings(shared, digits, tmp_path, monkeypatch):  # noqa: F811
    """In one folder: nothing of another learning rate, config or length is taken or mixed in."""
    trials, lines = shared
    monkeypatch.setattr(module, 'METHODS', {'error-driven update': 'APLoss'})
    trials = replace(trials, work_dir=tmp_path / 'work')
    (first,) = figures.convergence(trials, window=1)['curves']
    before = len(lines)
    (shorter,) = figures.convergence(replace(trials, iterations=1), window=1)['curves']
    assert shorter['steps'] == [1] and len(lines) == before + 1
    (faster,) = figures.convergence(replace(trials, lr=0.05), window=1)['curves']
    assert faster['mean'][0] == first['mean'][0] and faster['mean'][1] != first['mean'][1]
    other = tiny.write(tmp_path / 'other.py', digits, model__bbox_head__feat_channels=8)
    (another,) = figures.convergence(replace(trials, config=other), window=1)['curves']
    assert another['mean'][0] != first['mean'][0] and len(lines) == before + 3
    assert figures.convergence(trials, window=1)['curves'] == [first]
    assert len(lines) == before + 3


def test_what_a_training_depends_on(shared, tmp_path):
    trials, _ = shared
    weights = tmp_path / 'weights.pth'

    def digest(change=lambda cfg: None):
        cfg = trials.settings(0)
        weights.write_bytes(b'one')
        cfg.custom_hooks = [dict(type='ProposalSamples', config='a', checkpoint=str(weights))]
        change(cfg)
        return training_digest(cfg)

    def new_data(cfg):
        dataset = cfg.train_dataloader.dataset.dataset
        (tmp_path / 'new.json').write_text('{}')
        dataset.update(data_root=f'{tmp_path}/', ann_file='new.json')

    changes = [
        lambda cfg: cfg.randomness.update(seed=1),
        lambda cfg: cfg.model.neck.update(num_outs=4),
        lambda cfg: cfg.train_dataloader.update(batch_size=1),
        lambda cfg: weights.write_bytes(b'two'),  # the RPN was trained again
        lambda cfg: cfg.update(load_from=str(weights)),
        new_data,
    ]
    found = [digest(), *map(digest, changes)]
    assert len(set(found)) == len(found)
    assert digest() == digest(lambda cfg: cfg.update(work_dir='elsewhere')) == found[0]
    new_data(cfg := trials.settings(0))
    before = training_digest(cfg)
    (tmp_path / 'new.json').write_text('[]')  # other content in the same place
    assert training_digest(cfg) != before


def test_an_interrupted_training_begins_anew(shared, tmp_path):
    cfg = replace(shared[0], work_dir=tmp_path).settings(0)
    cfg.custom_hooks = [dict(type='LossRecorder')]
    folder = tmp_path / f'x-{training_digest(cfg)[:12]}'
    left = folder / '20260101_000000/vis_data/losses.jsonl'
    left.parent.mkdir(parents=True)
    left.write_text('{"step": 99, "ap_loss": 0.5}\n')
    assert train_once(cfg, 'x', print) == folder
    assert sorted(module.losses_of(folder)) == [1, 2]


def test_a_config_that_was_recorded(shared, digits, tmp_path, monkeypatch):  # noqa: F811
    """The one in the folder of a training that docs/analysis.md records."""
    trials, _ = shared
    monkeypatch.setattr(module, 'METHODS', {'error-driven update': 'APLoss'})
    recorder = dict(type='LossRecorder', interval=2)
    config = tiny.write(tmp_path / 'config.py', digits, default_hooks__recorder=recorder)
    trials = replace(trials, config=config, work_dir=tmp_path / 'work')
    figures.convergence(trials, window=1)
    assert [record['step'] for record in records_of(trials, 'all_APLoss_seed0')] == [1, 2]


def test_samples_by_hand():
    labels = [torch.tensor([[10, 3, 10]]), torch.tensor([[10]])]
    weights = [torch.tensor([[1.0, 1.0, 0.0]]), torch.tensor([[1.0]])]
    chosen = torch.tensor([[True, False, True, False]])
    found = keep_samples(labels, weights, chosen, 10)
    assert [level.tolist() for level in found] == [[[1.0, 1.0, 0.0]], [[0.0]]]


def test_the_rpn_has_the_anchors_of_the_detector(shared):
    model = shared[0].settings(0).model
    rpn = rpn_model(model)
    assert rpn.rpn_head.anchor_generator == model.bbox_head.anchor_generator
    assert rpn.backbone == model.backbone and rpn.rpn_head.loss_bbox.loss_weight == 0


def test_the_rpn_has_a_preprocessor_beside_the_model(shared, tmp_path, monkeypatch):
    """MMEngine's Runner takes it for that of the model, in training; here for the samples, too."""
    monkeypatch.setattr(proposals, 'train_once', lambda cfg, *_: tmp_path)
    cfg = shared[0].settings(0)
    preprocessor = cfg.data_preprocessor = cfg.model.pop('data_preprocessor')
    files = proposals.train_rpn(cfg, 1, print)
    assert Config.fromfile(files['config']).model.data_preprocessor == preprocessor


def test_mistakes(shared, digits, tmp_path):  # noqa: F811
    trials, _ = shared
    with pytest.raises(ValueError, match='iterations must be at least 1'):
        figures.Trials(trials.config, tmp_path, iterations=0)
    with pytest.raises(ValueError, match=r'samples must be numbers of anchors >= 1, got \[0\]'):
        figures.imbalance(trials, [0])
    new = replace(trials, work_dir=tmp_path / 'untrained')
    with pytest.raises(ValueError, match='window must be at least 1, got 0'):
        figures.convergence(new, window=0)
    with pytest.raises(ValueError, match='rpn_iterations must be at least 1, got 0'):
        figures.imbalance(new, [5], rpn_iterations=0)
    assert not new.work_dir.exists()  # found before anything was trained
    stock = tiny.write(
        tmp_path / 'stock.py', digits, model__bbox_head__type='RetinaHead',
        model__bbox_head__loss_cls=dict(_delete_=True, type='FocalLoss'),
    )  # fmt: skip
    with pytest.raises(UserError, match='no bbox_head of rankdet'):
        figures.convergence(figures.Trials(stock, tmp_path / 'work'))
