# ruff: noqa: I001 - rankdet.plugin comes before MMDetection
"""The config for own data: what it takes from the data, and that every choice can be trained."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import rankdet.plugin  # noqa: F401, before any import of MMDetection
from mmdet.registry import DATASETS, MODELS
from mmdet.structures import DetDataSample
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.structures import InstanceData

from rankdet.analysis.own_config import OwnOptions, as_python, box_sizes, config_text
from rankdet.analysis.own_model import DETECTORS, fit_anchors
from rankdet.datasets.own.convert import convert_own
from rankdet.engine.errors import UserError
from rankdet.engine.preflight import check_data
from tests.datasets import own_trees as trees

ODD = ('größe {{_base_.x}}', 'it\'s "this"')


@pytest.fixture
def data(tmp_path):
    trees.yolo_ultralytics(tmp_path / 'data')
    return convert_own(tmp_path / 'data', tmp_path / 'out')


def load(tmp_path, data, **options):
    path = tmp_path / 'config.py'
    path.write_text(config_text(OwnOptions(folder='', **options), data), encoding='utf-8')
    return Config.fromfile(path)


def test_what_the_data_decides(tmp_path, data):
    cfg = load(tmp_path, data)
    assert cfg.model.bbox_head.num_classes == 2 and tuple(cfg.metainfo.classes) == ('cat', 'dog')
    check_data(cfg, ('train', 'val', 'test'))
    register_all_modules(init_default_scope=True)
    assert len(DATASETS.build(cfg.train_dataloader.dataset)) == data.counts['train']['images'] == 3
    train, test = cfg.train_dataloader.dataset.dataset, cfg.test_dataloader.dataset
    assert train.ann_file == str(data.annotations('train')) and train.data_prefix.img == data.images
    assert test.ann_file == cfg.test_evaluator.ann_file == str(data.annotations('val'))
    assert tuple(train.metainfo.classes) == tuple(test.metainfo.classes) == ('cat', 'dog')


def test_a_test_split_is_what_the_result_is_measured_on(tmp_path, data):
    data.counts['test'] = data.counts['val']
    cfg = load(tmp_path, data)
    assert cfg.test_evaluator.ann_file == str(data.annotations('test'))
    assert cfg.val_evaluator.ann_file == str(data.annotations('val'))


@pytest.mark.parametrize(
    ('images', 'options', 'batch', 'epochs'),
    [
        (205, {}, 8, 15),  # 400 iterations of 26 an epoch
        (205, dict(batch=32), 32, 57),
        (12, {}, 3, 100),
        (2, {}, 1, 200),
        (20_000, {}, 8, 1),
        (205, dict(epochs=7), 8, 7),
    ],
)
def test_batch_rate_and_length(tmp_path, data, images, options, batch, epochs):
    data.counts['train']['images'] = images
    cfg = load(tmp_path, data, **options)
    assert cfg.train_dataloader.batch_size == batch
    assert cfg.train_cfg.max_epochs == cfg.param_scheduler[1].T_max == epochs
    rate = cfg.optim_wrapper.optimizer.lr
    assert rate == pytest.approx(0.003 * math.sqrt(batch / 8), rel=0.005)
    assert cfg.param_scheduler[0].end <= epochs * math.ceil(images / batch)


def test_names_are_written_as_they_are(tmp_path):
    trees.yolo_ultralytics(tmp_path / 'data', names=f'names: {json.dumps(ODD)}\n')
    cfg = load(tmp_path, convert_own(tmp_path / 'data', tmp_path / 'out'))
    assert tuple(cfg.metainfo.classes) == ODD


def test_pretrained_weights_and_none(tmp_path, data, monkeypatch):
    monkeypatch.delenv('BACKBONES', raising=False)
    cfg = load(tmp_path, data, backbone='r50')
    assert cfg.model.backbone.init_cfg.checkpoint == 'torchvision://resnet50'
    assert cfg.model.backbone.frozen_stages == 1 and cfg.model.backbone.norm_eval
    assert cfg.optim_wrapper.paramwise_cfg.custom_keys.backbone.lr_mult == 0.1
    monkeypatch.setenv('BACKBONES', 'none')
    cfg = load(tmp_path, data, backbone='r50')
    assert 'init_cfg' not in cfg.model.backbone and cfg.model.backbone.frozen_stages == -1
    assert not cfg.model.backbone.norm_eval and 'custom_keys' not in cfg.optim_wrapper.paramwise_cfg


CHOICES = [(detector, loss, 'small') for detector in DETECTORS for loss in DETECTORS[detector]]


@pytest.mark.parametrize(('detector', 'loss', 'backbone'), [*CHOICES, ('retinanet', 'ap', 'r18')])
def test_every_choice_trains(tmp_path, data, monkeypatch, detector, loss, backbone):
    monkeypatch.setenv('BACKBONES', 'none')
    register_all_modules(init_default_scope=True)
    torch.manual_seed(0)
    cfg = load(tmp_path, data, detector=detector, loss=loss, backbone=backbone, image_size=100)
    assert ('custom_hooks' in cfg) == (loss == 'alrp')
    model = MODELS.build(cfg.model)
    sample = DetDataSample(
        metainfo=dict(img_shape=(96, 128), batch_input_shape=(96, 128), pad_shape=(96, 128))
    )
    boxes = torch.tensor([[10.0, 20, 40, 60], [50, 0, 100, 80]])
    sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.tensor([0, 1]))
    sample.ignored_instances = InstanceData(bboxes=boxes[:0], labels=torch.tensor([]).long())
    empty = sample.clone()
    empty.gt_instances = sample.gt_instances[:0]
    for batch in ([empty, empty], [sample, empty]):
        losses = model.loss(torch.randn(2, 3, 96, 128), batch)
        terms = [term for v in losses.values() for term in (v if isinstance(v, list) else [v])]
        total = sum(term for term in terms if term.requires_grad)
        total.backward()
        assert torch.isfinite(total) and total >= (0 if batch[0] is empty else 1e-6)
    norms = [
        p.grad.norm() for n, p in model.named_parameters() if p.grad is not None and 'cls' in n
    ]
    assert max(norms) > 0


def test_a_value_reads_as_it_was():
    value = dict(a=[1.5, None, True], b=dict(c=('x',), d=(), e={}), f=[dict(g='h' * 30)] * 5)
    for indent in (0, 40):
        text = as_python(value, indent)
        assert eval(text) == value
        assert all(len(line) <= 100 for line in text.splitlines())
    assert as_python(value).startswith('dict(\n    a=[1.5, None, True],\n    b=dict(c=')


def test_sizes_are_those_that_training_sees(data):
    sizes = box_sizes(data.annotations('train'), 50)  # photos of 100 x 80
    assert sorted(sizes.tolist()) == [[10, 4], [15, 20], [25, 40]]


@pytest.mark.parametrize(
    ('boxes', 'scale', 'ratios', 'levels'),
    [
        ([(20, 20)] * 5, 2.5, (1.0,), 3),
        ([(4, 4)] * 5, 1.0, (1.0,), 3),  # not below 8 pixels
        ([(300, 300)] * 5, 4.0, (1.0,), 4),  # anchors from 32 to 362 pixels
        ([(8, 8), (1000, 1000)] * 5, 1.0, (1.0,), 5),
        ([(20, 60)] * 5, 4.0, (1.0, 2.0), 3),
        ([(60, 20), (20, 60)] * 5, 4.0, (0.5, 1.0, 2.0), 3),
    ],
)
def test_anchors_follow_the_objects(boxes, scale, ratios, levels):
    anchors = fit_anchors(np.array(boxes, float))
    assert (anchors.scale, anchors.ratios, anchors.levels) == (scale, ratios, levels)
    top = scale * anchors.strides[-1] * 2**0.5
    assert levels == 5 or max(map(max, boxes)) <= top * 2**0.5  # IoU 0.5 with the largest anchor


def test_options_that_do_not_fit():
    options = OwnOptions('data', loss='dr', detector='faster-rcnn')
    with pytest.raises(UserError, match='--loss dr: faster-rcnn takes ap, alrp, ce'):
        options.check()
    for name, value in (('epochs', 0), ('batch', -1), ('image_size', 10)):
        with pytest.raises(UserError, match=f'--{name.replace("_", "-")} must be at least'):
            replace(options, loss='ap', **{name: value}).check()
