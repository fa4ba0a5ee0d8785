"""Where a loss pushes, against a loop over the negatives."""

import importlib
import math

import pytest
import torch
from mmengine.config import ConfigDict

from rankdet.analysis import figures
from rankdet.analysis.push import LOSSES, focal_loss, push, push_profile


def a_batch():
    torch.manual_seed(0)
    logits, targets = torch.randn(4, 50), (torch.rand(4, 50) < 0.1).long()
    targets[0, :5] = -1
    return logits, targets


@pytest.mark.parametrize('name', LOSSES)
def test_shares_are_those_of_a_loop(name):
    logits, targets = a_batch()
    leaf = logits.clone().requires_grad_()
    value = LOSSES[name](leaf, targets)
    value.backward()
    positives = sorted(logits[targets == 1].tolist())
    median = positives[(len(positives) - 1) // 2]
    negatives = [
        (score, gradient)
        for score, gradient, target in zip(
            logits.flatten().tolist(), leaf.grad.flatten().tolist(), targets.flatten().tolist()
        )
        if target == 0
    ]
    total = sum(gradient for _, gradient in negatives)
    wrong = [gradient for score, gradient in negatives if score > median]
    highest = [gradient for _, gradient in sorted(negatives, reverse=True)]
    found = push(LOSSES[name], logits, targets)
    assert found['value'] == pytest.approx(value.item())
    assert found['push'] == pytest.approx(total)
    assert found['wrong'] == len(wrong) > 0
    assert (found['positives'], found['negatives']) == (len(positives), len(negatives))
    assert found['on_wrong'] == pytest.approx(sum(wrong) / total, rel=1e-5)
    assert found['on_highest'] == pytest.approx(sum(highest[: len(positives)]) / total, rel=1e-5)
    profile = push_profile(LOSSES[name], logits, targets).tolist()
    slow = [sum(highest[:k]) / total for k in range(len(negatives) + 1)]
    assert profile == pytest.approx(slow, abs=1e-6)


def test_focal_loss_is_that_of_its_paper():
    logits, targets = a_batch()
    total = 0.0
    for score, target in zip(logits.flatten().tolist(), targets.flatten().tolist()):
        p = 1 / (1 + math.exp(-score))
        if target >= 0:
            p_t, alpha_t = (p, 0.25) if target else (1 - p, 0.75)
            total -= alpha_t * (1 - p_t) ** 2 * math.log(p_t)
    count = int((targets == 1).sum())
    assert focal_loss(logits, targets).item() == pytest.approx(total / count, rel=1e-5)


def test_a_perfect_ranking_pushes_nothing():
    found = push(LOSSES['AP'], torch.tensor([9.0, -9.0]), torch.tensor([1, 0]))
    assert found['push'] == 0 and math.isnan(found['on_highest'])


def test_runs_of_one_label_are_averaged(monkeypatch):
    module = importlib.import_module('rankdet.analysis.figures.push')
    batches = {name: (torch.randn(40), (torch.rand(40) < 0.3).long()) for name in 'ab'}
    monkeypatch.setattr(module, 'training_scores', lambda run, device: batches[run.name])
    runs = [ConfigDict(label='AP', name=name) for name in 'ab']
    (panel,) = figures.push(runs)['panels']
    each = [push(LOSSES['AUC'], *batches[name]) for name in 'ab']
    assert panel['runs'] == 2
    for key, value in panel['losses']['AUC'].items():
        assert value == pytest.approx(sum(one[key] for one in each) / 2)
    assert '| AP (2 runs) | AUC |' in figures.push_table(dict(panels=[panel]))
