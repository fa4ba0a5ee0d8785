"""What a run does with the options of the command line, and that it learns."""

import json
import math

import pytest
import torch

from rankdet.datasets.digits import make_digits
from rankdet.engine import launch
from rankdet.engine.errors import UserError
from tests.engine import tiny


def logged(run):
    (path,) = run.glob('*/vis_data/scalars.json')
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize('batch, factor', [(2, 1 / 4), (3, 3 / 8)])
def test_the_rate_follows_the_batch(digits, tmp_path, batch, factor):
    """MMEngine's rule: lr * (processes * images a process) / base_batch_size."""
    cfg = tiny.load(
        digits,
        tmp_path / 'run',
        train_dataloader__batch_size=batch,
        train_cfg__max_epochs=1,
        param_scheduler=[],
    )
    assert cfg.auto_scale_lr.base_batch_size == 8
    run = tiny.train(cfg, auto_scale_lr=True)
    rates = [record['lr'] for record in logged(run) if 'lr' in record]
    assert rates == pytest.approx([0.002 * factor] * len(rates))


def test_the_rate_stays_unless_asked(digits, tmp_path):
    options = dict(train_cfg__max_epochs=1, param_scheduler=[])
    run = tiny.train(tiny.load(digits, tmp_path / 'run', **options))
    assert {record['lr'] for record in logged(run) if 'lr' in record} == {0.002}


def test_a_second_run_in_a_process_logs_into_its_own_folder(digits, tmp_path):
    """Though their configs give the visualizer one name, as MMDetection's do."""
    for name in ('first', 'second'):
        cfg = tiny.load(digits, tmp_path / name, train_cfg__max_epochs=1)
        cfg.visualizer.name = 'visualizer'
        assert logged(tiny.train(cfg))


def test_mixed_precision_is_switched_on(digits, tmp_path, monkeypatch):
    """Beyond the check for a GPU, the wrapper is MMEngine's."""
    seen = {}

    def stop(cfg):
        seen.update(cfg.optim_wrapper)
        raise UserError('far enough')

    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(launch.Runner, 'from_cfg', stop)
    with pytest.raises(UserError, match='far enough'):
        launch.train(tiny.load(digits, tmp_path / 'run'), amp=True)
    assert (seen['type'], seen['loss_scale']) == ('AmpOptimWrapper', 'dynamic')
    assert seen['clip_grad'] == dict(max_norm=10.0)


SMOOTH_L1 = dict(_delete_=True, type='SmoothL1Loss', beta=0.11, loss_weight=0.25)
GIOU = dict(_delete_=True, type='GIoULoss')
LOSSES = {
    'focal': (dict(type='FocalLoss', use_sigmoid=True), SMOOTH_L1),
    'ohem': (dict(type='OHEMCrossEntropyLoss'), SMOOTH_L1),
    'auc': (dict(type='AUCLoss'), SMOOTH_L1),
    'ap': (dict(type='APLoss'), SMOOTH_L1),
    'alrp': (dict(type='aLRPLoss'), GIOU),
    'dr': (dict(type='DRLoss'), SMOOTH_L1),
}


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
@pytest.mark.parametrize('loss', LOSSES)
def test_mixed_precision_trains_with_every_loss(digits, tmp_path, loss):
    cls, box = LOSSES[loss]
    cfg = tiny.load(
        digits,
        tmp_path / 'run',
        model__bbox_head__loss_cls=dict(cls, _delete_=True),
        model__bbox_head__loss_bbox=box,
        model__bbox_head__reg_decoded_bbox=box is GIOU,
        custom_hooks=[dict(type='SelfBalanceHook')] if loss == 'alrp' else [],
    )
    run = tiny.train(cfg, amp=True)
    losses = [record['loss'] for record in logged(run) if 'loss' in record]
    assert len(losses) == 6 and all(math.isfinite(value) for value in losses)
    assert 'loss_scaler' in torch.load(run / 'epoch_2.pth', weights_only=False)['optimizer']
    assert all(value.isfinite().all() for value in tiny.weights(run / 'epoch_2.pth').values())


@pytest.mark.parametrize(
    'given, expected', [('mine', 'mine'), (None, 'work_dirs/tiny_config')], ids=['given', 'default']
)
def test_where_a_run_lives(given, expected):
    assert launch.load_config(str(tiny.CONFIG), work_dir=given).work_dir == expected


def test_options_from_the_command_line():
    options = ['train_cfg.max_epochs=7', 'img_scale=(1,2)', 'a.b=[x,1]', 'load_from=None']
    cfg = launch.load_config(str(tiny.CONFIG), cfg_options=options)
    assert cfg.train_cfg.max_epochs == 7 and cfg.img_scale == (1, 2)
    assert cfg.a.b == ['x', 1] and cfg.load_from is None


def test_it_learns_a_handful_of_images_by_heart(tmp_path):
    """AP Loss alone drives the ranking and the boxes: AP on what it was trained on."""
    torch.set_num_threads(1)
    data = make_digits(tmp_path / 'data', num_train=4, num_val=4, size=96, seed=1)
    cfg = tiny.load(
        data,
        tmp_path / 'run',
        model__backbone__base_channels=16,
        model__neck__in_channels=[16, 32],
        model__bbox_head__norm_cfg=dict(type='BN'),
        train_dataloader__batch_size=4,
        train_dataloader__dataset__dataset__pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', with_bbox=True),
            dict(type='PackDetInputs'),
        ],
        train_cfg=dict(_delete_=True, type='IterBasedTrainLoop', max_iters=100, val_interval=100),
        train_dataloader__sampler__type='SeededInfiniteSampler',
        default_hooks__checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=100),
        log_processor=dict(by_epoch=False, window_size=1),
        param_scheduler=[],
        optim_wrapper__optimizer__lr=0.004,
    )
    truth = str(data / 'annotations/instances_train.json')
    cfg.val_dataloader.dataset.ann_file = 'annotations/instances_train.json'
    cfg.val_dataloader.dataset.data_prefix.img = 'train/'
    cfg.val_evaluator.ann_file = truth
    records = logged(tiny.train(cfg))
    losses = [record['loss_cls'] for record in records if 'loss_cls' in record]
    assert losses[0] > 0.95 and max(losses[-5:]) < 0.01
    assert records[-1]['coco/bbox_mAP_50'] > 0.75


def test_weights_that_cannot_be_had_end_a_run_before_it_starts(digits, tmp_path):
    lost = dict(type='Pretrained', checkpoint=str(tmp_path / 'lost.pth'))
    cfg = tiny.load(digits, tmp_path / 'run', model__backbone__init_cfg=lost)
    with pytest.raises(UserError, match=r'lost\.pth, which does not exist'):
        launch.train(cfg)
    assert not (tmp_path / 'run').exists()
