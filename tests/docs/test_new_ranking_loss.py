"""The page runs as it is written, and its loss trains a head."""

import re
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / 'models'))
from builders import SMOOTH_L1, build, features, retina, total, truth

PAGE = Path(__file__).parents[2] / 'docs/new_ranking_loss.md'


def test_the_page():
    blocks = re.findall(r'```python\n(.*?)```', PAGE.read_text(), re.DOTALL)
    assert len(blocks) == 3
    names = {}
    exec('\n'.join(blocks[:2]), names)
    exec(blocks[2], settings := {})
    loss = {k: v for k, v in settings['model']['bbox_head']['loss_cls'].items() if k != '_delete_'}
    head = build(retina(loss, SMOOTH_L1))
    instances, metas = truth()
    losses = head.loss_by_feat(*head(features()), instances, metas)
    total(losses).backward()
    assert 0 < losses['loss_cls'] < 1 and head.retina_cls.weight.grad.abs().sum() > 0
    assert isinstance(losses['loss_cls'], torch.Tensor)
