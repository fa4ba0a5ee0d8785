"""A user's mistake: one line that says what is wrong and what to do, and nothing left behind."""

import shutil
import sys
from pathlib import Path

import pytest
import torch

from tests.engine import tiny
from tests.tools import cli

RUN = 'run'  # the --work-dir, which must not be there afterwards
TRAIN = 'train_dataloader.dataset.dataset'


def assert_refused(done, *words, folder=None):
    """Status 1, one line with these words on stderr but for progress, and no folder of a run."""
    lines = [line for line in done.err.splitlines() if not line.startswith('reading images (')]
    assert done.status == 1
    assert len(lines) == 1 and lines[0].startswith('error: '), done.err
    assert all(word in lines[0] for word in words), lines[0]
    if folder is not None:
        assert not (folder / RUN).exists()


@pytest.mark.parametrize(
    'options, words',
    [
        # the data
        ([f'{TRAIN}.data_root=nowhere/'], ['train_dataloader', 'nowhere/', 'does not exist']),
        ([f'{TRAIN}.data_root=my/digits/'], ['my/digits/', 'rankdet make_digits --out my/digits/']),
        ([f'{TRAIN}.ann_file=annotations/none.json'], ['annotations/none.json', 'does not exist']),
        ([f'{TRAIN}.data_prefix.img=pictures/'], ['pictures/', 'does not exist']),
        (
            ['val_dataloader.dataset.ann_file=annotations/none.json'],
            ['val_dataloader', 'none.json'],
        ),
        (['val_evaluator.ann_file=none.json'], ['val_evaluator', 'CocoMetric', 'none.json']),
        (
            [f'{TRAIN}.metainfo.classes=[dog,cat]', 'model.bbox_head.num_classes=2'],
            ['class dog, cat is not among', 'instances_train.json', '0, 1, 2', 'metainfo'],
        ),
        ([f'{TRAIN}.metainfo.classes=[0,1,2]'], ['must be strings', 'got 0']),
        (['model.bbox_head.num_classes=7'], ['is 7', '10 classes', 'bbox_head.num_classes=10']),
        # the model and its losses
        (['model.bbox_head.loss_cls.type=APLos'], ['APLos is not registered', 'spelling']),
        (['model.bbox_head.loss_cls.type=L1Loss'], ['RankRetinaHead', 'L1Loss', 'APLoss', 'Focal']),
        (['model.bbox_head.loss_cls.type=aLRPLoss'], ['aLRPLoss', 'SmoothL1Loss', 'GIoULoss']),
        (['model.bbox_head.loss_cls.delta=-1'], ['delta', '-1']),
        (['model.bbox_head.loss_cls.dleta=1'], ['dleta']),
        (['model.bbox_head.type=RankRetinaHaed'], ['RankRetinaHaed is not registered']),
        # how it is trained
        (['optim_wrapper.optimizer.type=Adamw'], ['Adamw is not registered']),
        (['default_hooks.checkpoint.type=Checkpoint'], ['Checkpoint is not registered']),
        ([f'{TRAIN}.pipeline.0.type=LoadImage'], ['LoadImage is not registered']),
        (['optim_wrapper.optimizer.lr.value=1'], ['--cfg-options', 'config.py']),
        (['train_dataloader'], ['--cfg-options', 'KEY=VALUE', 'train_dataloader']),
    ],
    ids=lambda value: value[0] if isinstance(value, list) and '=' in value[0] else None,
)
def test_a_wrong_entry_of_the_config(tool, config, tmp_path, options, words):
    done = tool('train', config, '--work-dir', RUN, '--cfg-options', *options)
    assert_refused(done, *words, folder=tmp_path)


def test_a_config_that_is_not_there(tool, tmp_path):
    done = tool('train', 'configs/none.py', '--work-dir', RUN)
    assert_refused(done, 'config configs/none.py does not exist', folder=tmp_path)


@pytest.mark.parametrize(
    'text, words',
    [
        ('model = dict(', ['config.py', 'line 1']),
        ("_base_ = 'none.py'", ['none.py']),
        ("_base_ = 'rankdet::demo/none.py'", ['demo/none.py']),
        ("custom_imports = dict(imports=['no_such_module'])", ['no_such_module']),
        ('x = 1', ['config.py', 'model']),
        ('model = dict(type="RetinaNet", backbone=undefined)', ['undefined']),
    ],
)
def test_a_config_that_is_no_config(tool, tmp_path, text, words):
    (tmp_path / 'config.py').write_text(text)
    done = tool('train', 'config.py', '--work-dir', RUN)
    assert_refused(done, *words, folder=tmp_path)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b'')


def no_image(path):
    path.write_text('this is no image')


@pytest.mark.parametrize(
    'spoil, workers, words',
    [
        (empty, 0, 'no readable image'),
        (cut, 0, 'no readable image'),
        (no_image, 0, 'no readable image'),
        (empty, 1, 'no readable image'),
        (Path.unlink, 0, 'No such file'),
        (Path.unlink, 1, 'No such file'),
    ],
)
def test_a_broken_image(tool, config, own_data, tmp_path, spoil, workers, words):
    broken = sorted((own_data / 'train').glob('*.png'))
    for path in broken:
        spoil(path)
    options = [f'{TRAIN}.data_root={own_data}/', f'train_dataloader.num_workers={workers}']
    done = tool('train', config, '--work-dir', RUN, '--cfg-options', *options)
    assert_refused(done, str(own_data / 'train'), words, folder=tmp_path)


@pytest.mark.parametrize('spoil', [empty, cut, no_image])
def test_a_broken_annotation_file(tool, config, own_data, tmp_path, spoil):
    spoil(own_data / 'annotations/instances_train.json')
    options = [f'{TRAIN}.data_root={own_data}/']
    done = tool('train', config, '--work-dir', RUN, '--cfg-options', *options)
    assert_refused(done, 'instances_train.json', folder=tmp_path)


def test_no_mixed_precision_without_a_gpu(tool, config, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    done = tool('train', config, '--work-dir', RUN, '--amp')
    assert_refused(done, '--amp needs a GPU', folder=tmp_path)


def test_no_scaling_without_a_base(tool, config, tmp_path):
    options = ['auto_scale_lr=None']
    done = tool('train', config, '--work-dir', RUN, '--auto-scale-lr', '--cfg-options', *options)
    assert_refused(done, '--auto-scale-lr', 'base_batch_size', folder=tmp_path)


# --- checkpoints -------------------------------------------------------------------------------


def of_other_classes(checkpoint, out):
    content = torch.load(checkpoint, weights_only=False)
    content['meta']['dataset_meta']['classes'] = tuple('ABCDEFGHIJ')
    torch.save(content, out)


def of_another_model(checkpoint, out):
    content = torch.load(checkpoint, weights_only=False)
    key = 'bbox_head.retina_cls.bias'
    content['state_dict'][key] = content['state_dict'][key][:-1]
    torch.save(content, out)


def without_a_weight(checkpoint, out):
    content = torch.load(checkpoint, weights_only=False)
    del content['state_dict']['bbox_head.retina_cls.bias']
    torch.save(content, out)


def cut_short(checkpoint, out):
    shutil.copy(checkpoint, out)
    cut(out)


def no_checkpoint(checkpoint, out):
    out.write_text('weights')


def other_things(checkpoint, out):
    torch.save(['no', 'weights'], out)


def missing(checkpoint, out):
    pass


SPOILT = [
    (of_other_classes, ['10 classes (A, B', '(0, 1', 'config of its training']),
    (of_another_model, ['bbox_head.retina_cls.bias is', 'config of its training']),
    (without_a_weight, ['bbox_head.retina_cls.bias is missing', 'config of its training']),
    (cut_short, []),
    (no_checkpoint, []),
    (other_things, ['list']),
    (missing, ['does not exist']),
]


@pytest.mark.parametrize('spoil, words', SPOILT)
@pytest.mark.parametrize('name', ['test', 'train', 'image_demo'])
def test_a_checkpoint_that_does_not_fit(
    tool, config, checkpoint, digits, tmp_path, name, spoil, words
):
    spoil(checkpoint, tmp_path / 'other.pth')
    picture = digits / 'val/000000.png'
    arguments = {
        'test': [config, 'other.pth', '--work-dir', RUN, '--out', f'{RUN}/results.pkl'],
        'train': [config, '--resume', 'other.pth', '--work-dir', RUN],
        'image_demo': [picture, '--config', config, '--checkpoint', 'other.pth', '--out-dir', RUN],
    }
    done = tool(name, *arguments[name])
    assert_refused(done, 'other.pth', *words, folder=tmp_path)


def test_a_file_of_predictions_of_another_kind(tool, config, checkpoint, tmp_path):
    done = tool('test', config, checkpoint, '--work-dir', RUN, '--out', 'results.json')
    assert_refused(done, '--out', '.pkl', 'results.json', folder=tmp_path)


def test_what_was_there_stays(tool, config, trained, tmp_path):
    """A mistake in a folder with earlier runs takes none of them away."""
    run = shutil.copytree(trained, tmp_path / RUN)
    before = {path for path in run.rglob('*') if path.is_file()}
    options = ['model.bbox_head.loss_cls.type=L1Loss']
    assert_refused(tool('train', config, '--work-dir', RUN, '--cfg-options', *options))
    assert before <= {path for path in run.rglob('*') if path.is_file()}


# --- as a process of its own -----------------------------------------------------------------


def test_as_a_process(digits, tmp_path):
    config = tiny.write(tmp_path / 'config.py', digits)
    command = [sys.executable, cli.ROOT / 'tools/train.py', config, '--work-dir', RUN]
    options = ['--cfg-options', 'model.bbox_head.loss_cls.type=L1Loss']
    done = cli.run_alone([*command, *options], tmp_path)
    lines = [line for line in done.err.splitlines() if 'error' in line.lower()]
    assert done.status == 1 and 'Traceback' not in done.err
    assert lines == [done.err.splitlines()[-1]] and 'RankRetinaHead cannot take' in lines[0]
    assert not (tmp_path / RUN).exists()


def test_a_traceback_on_demand(tool, config, monkeypatch):
    monkeypatch.setenv('RANKDET_TRACEBACK', '1')
    done = tool('train', config, '--cfg-options', f'{TRAIN}.data_root=nowhere/')
    assert done.status == 1 and 'Traceback' in done.err and 'preflight.py' in done.err
