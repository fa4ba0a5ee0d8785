"""The three optimisations of AP, and training on the anchors of an RPN."""

import importlib
import json
from pathlib import Path

import pytest
import torch

import rankdet.plugin  # noqa: F401
from rankdet.analysis import figures
from rankdet.analysis.figures.proposals import keep_samples, rpn_model
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


def records_of(trials, name):
    (path,) = (trials.work_dir / name).glob('*/vis_data/losses.jsonl')
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
    state = tiny.weights(trials.work_dir / 'all_APLoss_seed0/iter_2.pth')
    cfg = trials.settings(trials.work_dir / 'unused', 0)
    assert cfg.train_cfg.max_iters == 2 and cfg.val_dataloader is None
    logs = list((trials.work_dir / 'all_APLoss_seed0').glob('*/vis_data/scalars.json'))
    logged = [json.loads(line) for path in logs for line in path.read_text().splitlines()]
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


def test_samples_by_hand():
    labels = [torch.tensor([[10, 3, 10]]), torch.tensor([[10]])]
    weights = [torch.tensor([[1.0, 1.0, 0.0]]), torch.tensor([[1.0]])]
    chosen = torch.tensor([[True, False, True, False]])
    found = keep_samples(labels, weights, chosen, 10)
    assert [level.tolist() for level in found] == [[[1.0, 1.0, 0.0]], [[0.0]]]


def test_the_rpn_has_the_anchors_of_the_detector(shared):
    model = shared[0].settings(Path('unused'), 0).model
    rpn = rpn_model(model)
    assert rpn.rpn_head.anchor_generator == model.bbox_head.anchor_generator
    assert rpn.backbone == model.backbone and rpn.rpn_head.loss_bbox.loss_weight == 0


def test_mistakes(shared, digits, tmp_path):  # noqa: F811
    trials, _ = shared
    with pytest.raises(ValueError, match='iterations must be at least 1'):
        figures.Trials(trials.config, tmp_path, iterations=0)
    with pytest.raises(ValueError, match=r'samples must be numbers of anchors >= 1, got \[0\]'):
        figures.imbalance(trials, [0])
    stock = tiny.write(
        tmp_path / 'stock.py', digits, model__bbox_head__type='RetinaHead',
        model__bbox_head__loss_cls=dict(_delete_=True, type='FocalLoss'),
    )  # fmt: skip
    with pytest.raises(UserError, match='no bbox_head of rankdet'):
        figures.convergence(figures.Trials(stock, tmp_path / 'work'))
