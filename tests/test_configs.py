# ruff: noqa: I001 - rankdet.plugin comes before MMDetection
"""Every config that is offered: it loads, its name tells the truth, its heads take their losses."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

import rankdet.plugin  # noqa: F401, before any import of MMDetection
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.structures import InstanceData

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
FILES = sorted(p for p in CONFIGS.rglob('*.py') if '_base_' not in p.parts)
NAME = re.compile(
    r'(?P<detector>[^_]+)_(?P<backbone>[^_]+)_((?P<neck>[^_]+)_)?(?P<loss>[^_]+)_'
    r'(?P<gpus>\d+)xb(?P<images>\d+)-(?P<length>[\d.]+)(?P<unit>e|k)_[^_]+-[^_]+'
)
IMAGES, SIDE = 2, 128


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def config(request) -> Config:
    return Config.fromfile(request.param)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Build without MMDetection's random numbers and files for backbones: nothing reads them."""
    register_all_modules(init_default_scope=True)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for kind in (nn.modules.conv._ConvNd, nn.Linear):
        monkeypatch.setattr(kind, 'reset_parameters', lambda self: None)


def test_there_are_configs():
    assert FILES


def test_the_name_tells_the_truth(config):
    name = NAME.fullmatch(Path(config.filename).stem)
    assert name, f'{config.filename} is not named as README says'
    images, gpus = int(name['images']), int(name['gpus'])
    assert config.train_dataloader.batch_size == images
    assert config.auto_scale_lr.base_batch_size == gpus * images
    length = float(name['length'])
    if name['unit'] == 'e':
        assert config.train_cfg.max_epochs == length
    else:
        assert config.train_cfg.max_iters == length * 1000
    if '-loss' in name['loss']:
        asked = name['loss'].split('-loss')[0].replace('-', '')
        losses = [kind.lower() for kind in loss_types(config.model)]
        assert any(kind.startswith(asked) and kind.endswith('loss') for kind in losses)


def loss_types(node) -> list[str]:
    if isinstance(node, (list, tuple)):
        return [kind for child in node for kind in loss_types(child)]
    if not isinstance(node, dict):
        return []
    own = [str(node['loss_cls'].type)] if 'loss_cls' in node else []
    return own + [kind for child in node.values() for kind in loss_types(child)]


def test_its_heads_take_their_losses(config):
    model = MODELS.build(config.model)
    two_stage = hasattr(model, 'roi_head')
    dense = model.rpn_head if two_stage else model.bbox_head
    dense.init_weights()
    maps, samples = pyramid(dense), ground_truth(config)
    if not two_stage:
        check(dense, dense.loss(maps, samples))
        return
    proposals = [InstanceData(bboxes=s.gt_instances.bboxes + 1.0) for s in samples]
    one_class = [s.clone() for s in samples]
    for sample in one_class:
        sample.gt_instances.labels.zero_()
    check(dense, dense.loss(maps, one_class))
    model.roi_head.init_weights()
    for proposal in proposals:
        count = len(proposal.bboxes)
        proposal.scores, proposal.labels = torch.ones(count), torch.zeros(count).long()
    check(model.roi_head.bbox_head, model.roi_head.loss(maps, proposals, samples))


def pyramid(head) -> list[torch.Tensor]:
    """Features as the neck would give them for an image of SIDE pixels."""
    strides = [s if isinstance(s, int) else s[0] for s in head.prior_generator.strides]
    channels = head.in_channels
    if not isinstance(channels, (list, tuple)):
        channels = [channels] * len(strides)
    return [torch.randn(IMAGES, c, *[-(-SIDE // s)] * 2) for c, s in zip(channels, strides)]


def ground_truth(config) -> list[DetDataSample]:
    """Two objects on the first image, none on the second."""
    meta = dict(img_shape=(SIDE, SIDE), pad_shape=(SIDE, SIDE), scale_factor=(1.0, 1.0))
    boxes = torch.tensor([[20.0, 24.0, 84.0, 88.0], [50.0, 4.0, 118.0, 80.0]])
    samples = []
    for count in (2, 0):
        sample = DetDataSample(metainfo=meta)
        sample.gt_instances = InstanceData(bboxes=boxes[:count], labels=torch.arange(count))
        samples.append(sample)
    return samples


def check(head: nn.Module, losses: dict) -> None:
    values = [v for key, v in losses.items() if 'loss' in key]
    total = sum(sum(v).sum() if isinstance(v, (list, tuple)) else v.sum() for v in values)
    assert total > 0 and torch.isfinite(total)
    total.backward()
    unmoved = [key for key, p in head.named_parameters() if p.requires_grad and p.grad is None]
    assert not unmoved
    assert all(torch.isfinite(p.grad).all() for p in head.parameters() if p.grad is not None)
