"""Where a loss pushes, against a loop over the negatives."""

import pytest
import torch
from mmengine.registry import DefaultScope

from rankdet.analysis.push import LOSSES, push, scores_of_first_batch
from rankdet.datasets.digits import make_digits


@pytest.mark.parametrize('name', LOSSES)
def test_shares_are_those_of_a_loop(name):
    torch.manual_seed(0)
    logits, targets = torch.randn(4, 50), (torch.rand(4, 50) < 0.1).long()
    targets[0, :5] = -1
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
    highest = sorted(negatives, reverse=True)[: len(positives)]
    found = push(LOSSES[name], logits, targets)
    assert found['value'] == pytest.approx(value.item())
    assert found['push'] == pytest.approx(total)
    assert found['wrong'] == len(wrong) > 0
    assert found['on_wrong'] == pytest.approx(sum(wrong) / total, rel=1e-5)
    assert found['on_highest'] == pytest.approx(sum(g for _, g in highest) / total, rel=1e-5)


def test_scores_are_those_of_the_first_batch(tmp_path, monkeypatch):
    from rankdet.engine.launch import load_config

    config = 'tests/engine/tiny_config.py'
    monkeypatch.setenv('DIGITS', str(make_digits(tmp_path / 'd', num_train=4, num_val=1, size=96)))
    cfg = load_config(config)  # registers MMDetection's modules
    from mmdet.registry import MODELS

    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(cfg.model)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'weights.pth')
    logits, targets = scores_of_first_batch(config, str(tmp_path / 'weights.pth'))
    assert logits.shape == targets.shape and logits.shape[::2] == (2, 10)
    assert set(targets.unique().tolist()) <= {-1, 0, 1} and (targets == 1).any()
    # One class at most is right at a place, and a place is ignored for all or for none.
    assert (targets == 1).sum(-1).max() == 1
    assert (targets == -1).all(-1).equal((targets == -1).any(-1))
