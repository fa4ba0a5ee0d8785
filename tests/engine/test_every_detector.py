"""Detectors and losses through the command lines: two steps, validation, resume, test."""

import json
import math
import pickle
from pathlib import Path

import pytest

from tests.engine import tiny
from tests.tools import cli

HERE = Path(__file__).parent
SMOOTH_L1 = dict(_delete_=True, type='SmoothL1Loss', beta=1.0, loss_weight=0.25)
SOFTMAX = dict(_delete_=True, type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0)
SIGMOID = dict(_delete_=True, type='CrossEntropyLoss', use_sigmoid=True, loss_weight=1.0)
FOCAL = dict(_delete_=True, type='FocalLoss', use_sigmoid=True)
AP = dict(_delete_=True, type='APLoss')

# SSD for images of 512 pixels has one level more, smaller in the end.
CHANNELS = (512, 1024, 512, 256, 256, 256, 256)
SSD_512 = dict(
    config=HERE / 'tiny_ssd.py',
    model__neck__out_channels=CHANNELS,
    model__neck__level_strides=(2, 2, 2, 2, 1),
    model__neck__level_paddings=(1, 1, 1, 1, 1),
    model__neck__last_kernel_size=4,
    model__bbox_head__in_channels=CHANNELS,
    model__bbox_head__anchor_generator=dict(
        _delete_=True,
        type='SSDAnchorGenerator',
        scale_major=False,
        input_size=512,
        basesize_ratio_range=(0.1, 0.9),
        strides=[8, 16, 32, 64, 128, 256, 512],
        ratios=[[2], [2, 3], [2, 3], [2, 3], [2, 3], [2], [2]],
    ),
)
FASTER_RCNN = dict(config=tiny.FASTER_RCNN)
FOVEABOX = dict(config=HERE / 'tiny_foveabox.py')
BALANCE = dict(custom_hooks=[dict(type='SelfBalanceHook')])


def head(where, loss_cls, loss_bbox=None):
    changed = {f'model__{where}__loss_cls': loss_cls}
    if loss_bbox:
        changed[f'model__{where}__loss_bbox'] = loss_bbox
        changed[f'model__{where}__reg_decoded_bbox'] = 'IoU' in loss_bbox['type']
    return changed


def without_coder(options):  # FoveaBox has none
    return {key: value for key, value in options.items() if not key.endswith('reg_decoded_bbox')}


def loss(kind):
    return dict(_delete_=True, type=kind)


def pipelines(side):
    read = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True),
        dict(type='Resize', scale=(side, side), keep_ratio=False),
    ]
    train = [*read, dict(type='RandomFlip', prob=0.5), dict(type='PackDetInputs')]
    meta_keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
    test = [*read, dict(type='PackDetInputs', meta_keys=meta_keys)]
    return dict(
        train_dataloader__dataset__dataset__pipeline=train,
        val_dataloader__dataset__pipeline=test,
        test_dataloader__dataset__pipeline=test,
    )


# name: overrides, the side of the images, and what the log must show
RUNS = {
    'faster-rcnn-alrp': (FASTER_RCNN | BALANCE, 96, ['loss_rpn_cls', 'rpn_head.aLRP']),
    'faster-rcnn-cross-entropy': (
        FASTER_RCNN | head('rpn_head', SIGMOID) | head('roi_head.bbox_head', SOFTMAX),
        96,
        ['loss_rpn_cls', 'acc'],
    ),
    'foveabox-alrp': (FOVEABOX | BALANCE, 96, ['aLRP']),
    'foveabox-focal': (FOVEABOX | without_coder(head('bbox_head', FOCAL, SMOOTH_L1)), 96, []),
    'ssd300-alrp': (dict(config=HERE / 'tiny_ssd.py') | BALANCE, 300, ['aLRP']),
    'ssd512-ap': (SSD_512 | head('bbox_head', AP, SMOOTH_L1), 512, []),
}


# Every loss that is not above, and ATSS: trained, resumed and tested.
RESUMED = {
    'faster-rcnn-dr': FASTER_RCNN
    | head('rpn_head', loss('DRLoss'), SMOOTH_L1)
    | head('roi_head.bbox_head', loss('DRLoss'), SMOOTH_L1),
    'foveabox-auc': FOVEABOX | without_coder(head('bbox_head', loss('AUCLoss'), SMOOTH_L1)),
    'retinanet-ohem': head('bbox_head', loss('OHEMCrossEntropyLoss')),
    'retinanet-atss-alrp': BALANCE
    | head('bbox_head', loss('aLRPLoss'), loss('GIoULoss'))
    | dict(model__train_cfg__assigner=dict(_delete_=True, type='ATSSAssigner', topk=9)),
}


def write(path, digits, options, side):
    """Two images to train, one to test."""
    return tiny.write(
        path,
        digits,
        **options,
        **pipelines(side),
        train_dataloader__batch_size=1,
        train_dataloader__dataset__dataset__indices=2,
        val_dataloader__dataset__indices=1,
        test_dataloader__dataset__indices=1,
        train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=1, val_interval=1),
        param_scheduler=[],
    )


def records(run):
    """What the newest of its trainings logged: the steps, and the validations."""
    path = max(Path(run).glob('*/vis_data/scalars.json'), key=lambda path: path.stat().st_mtime_ns)
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return [r for r in found if 'loss' in r], [r for r in found if 'loss' not in r]


def check_steps(steps, logged=()):
    for step in steps:
        losses = [value for key, value in step.items() if 'loss' in key]
        assert len(losses) >= 3 and all(math.isfinite(value) for value in losses)
        assert set(logged) <= step.keys()


def check_test(checkpoint, validation, config, monkeypatch, capsys):
    """A checkpoint gives what its training measured, and scores."""
    arguments = [config, checkpoint, '--work-dir', 'test', '--out', 'found.pkl']
    done = cli.run_inside(monkeypatch, capsys, 'test', *arguments)
    assert done.status == 0, done.err
    (path,) = Path('test').glob('*/*.json')
    tested = json.loads(path.read_text())
    key = 'coco/bbox_mAP'
    assert 0 <= tested[key] == validation[key]
    (image,) = pickle.loads(Path('found.pkl').read_bytes())
    scores = image['pred_instances']['scores']
    assert len(scores) and 0 <= scores.min() <= scores.max() <= 1


@pytest.mark.parametrize('name', RUNS)
def test_trains_validates_and_tests(name, digits, tmp_path, monkeypatch, capsys):
    options, side, logged = RUNS[name]
    config = write(tmp_path / 'config.py', digits, options, side)
    monkeypatch.chdir(tmp_path)
    done = cli.run_inside(monkeypatch, capsys, 'train', config, '--work-dir', 'run')
    assert done.status == 0, done.err
    steps, (validation,) = records('run')
    assert len(steps) == 2
    check_steps(steps, logged)
    check_test('run/epoch_1.pth', validation, config, monkeypatch, capsys)
    Path('run/epoch_1.pth').unlink()  # VGG's is large


@pytest.mark.parametrize('name', RESUMED)
def test_trains_resumes_and_tests(name, digits, tmp_path, monkeypatch, capsys):
    config = write(tmp_path / 'config.py', digits, RESUMED[name], 96)
    monkeypatch.chdir(tmp_path)
    for epochs, more in ((1, []), (2, ['--resume'])):
        arguments = [config, '--work-dir', 'run', *more, '--cfg-options']
        options = [f'train_cfg.max_epochs={epochs}', f'experiment_name={name}-{epochs}']
        done = cli.run_inside(monkeypatch, capsys, 'train', *arguments, *options)
        assert done.status == 0, done.err
        steps, (validation,) = records('run')
        assert [step['step'] for step in steps] == [2 * epochs - 1, 2 * epochs]
        check_steps(steps)
    check_test('run/epoch_2.pth', validation, config, monkeypatch, capsys)
