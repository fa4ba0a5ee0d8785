"""A checkpoint that brings code: no tool runs it, each says in one line what the file wanted."""

import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch

from rankdet.engine import launch
from rankdet.engine.errors import UserError
from rankdet.engine.preflight import read_checkpoint
from rankdet.engine.weights_only import RUN_CODE, load_weights, only_weights
from tests.engine import tiny

BACKBONE = 'model.backbone.init_cfg'


class Hostile:
    """Makes a folder called 'taken' where it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ('taken',)


@pytest.fixture
def hostile(checkpoint, tmp_path):
    """A checkpoint that fits, with one thing more."""
    content = torch.load(checkpoint, weights_only=False)
    content['meta']['extra'] = Hostile()
    torch.save(content, tmp_path / 'hostile.pth')
    return tmp_path / 'hostile.pth'


def refused(done):
    line = done.err.splitlines()[-1]
    assert done.status == 1 and 'Traceback' not in done.err, done.err
    assert line.startswith('error: ') and 'hostile.pth is refused: it asks for posix.mkdir' in line
    assert '--run-pickled-code' in line and RUN_CODE in line
    assert not Path('taken').exists()


TOOLS = {
    'test': ['CONFIG', 'HOSTILE', '--work-dir', 'run'],
    'train': ['CONFIG', '--resume', 'HOSTILE', '--work-dir', 'run'],
    'train, load_from': ['CONFIG', '--work-dir', 'run', '--cfg-options', 'load_from=HOSTILE'],
    'train, backbone': [
        *('CONFIG', '--work-dir', 'run', '--cfg-options'),
        *(f'{BACKBONE}.type=Pretrained', f'{BACKBONE}.checkpoint=HOSTILE'),
    ],
    'image_demo': ['IMAGE', '--config', 'CONFIG', '--checkpoint', 'HOSTILE', '--out-dir', 'run'],
    'robustness': ['CONFIG', 'HOSTILE', '--only', 'original', '--out-dir', 'run'],
    'report': ['HOSTILE', '--config', 'CONFIG', '--out', 'run/report.html'],
    'analyze': ['scatter', 'HOSTILE', '--config', 'CONFIG', '--out', 'run/scatter'],
}


def fill(arguments, config, hostile, digits):
    values = {'CONFIG': config, 'HOSTILE': hostile, 'IMAGE': digits / 'val/000000.png'}
    for word, value in values.items():
        arguments = [text.replace(word, str(value)) for text in arguments]
    return arguments


@pytest.mark.parametrize('name', TOOLS)
def test_no_tool_runs_it(tool, config, hostile, digits, name):
    done = tool(name.split(',')[0], *fill(TOOLS[name], config, hostile, digits))
    refused(done)
    assert not Path('run').exists() or name == 'report'


def test_nor_does_a_folder_of_backbones(tool, config, hostile, monkeypatch, tmp_path):
    folder = tmp_path / 'backbones'
    folder.mkdir()
    shutil.copy(hostile, folder / 'hostile.pth')
    monkeypatch.setenv('BACKBONES', str(folder))
    options = [f'{BACKBONE}.type=Pretrained', f'{BACKBONE}.checkpoint=https://a.b/hostile.pth']
    refused(tool('train', config, '--work-dir', 'run', '--cfg-options', *options))


@pytest.mark.parametrize('name', ['test', 'train', 'image_demo'])
def test_the_option_does_what_it_says(tool, config, hostile, digits, name):
    config.write_text(config.read_text().replace('max_epochs=2', 'max_epochs=1'))
    done = tool(name, *fill(TOOLS[name], config, hostile, digits), '--run-pickled-code')
    assert Path('taken').exists()
    # The folder is there when the file is read for the second time.
    assert 'File exists' in done.err or done.status == 0
    assert RUN_CODE not in os.environ


def old_format(path):
    torch.save(Hostile(), path, _use_new_zipfile_serialization=False)


def plain_pickle(path):
    path.write_bytes(pickle.dumps({'state_dict': Hostile()}, protocol=2))


def new_pickle(path):
    path.write_bytes(pickle.dumps({'state_dict': Hostile()}, protocol=5))


@pytest.mark.parametrize('write', [old_format, plain_pickle, new_pickle])
def test_other_formats(tmp_path, monkeypatch, write):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / 'odd.pth')
    with pytest.raises(UserError, match=r'odd\.pth'):
        read_checkpoint('odd.pth')
    with pytest.raises((UserError, ValueError)):
        load_weights(torch.nn.Linear(1, 1), 'odd.pth')
    assert not Path('taken').exists()


def test_the_host_would_have_run_it(hostile, monkeypatch, tmp_path):
    """Outside of ``only_weights`` MMEngine does: this is what the guard is for."""
    from mmengine.runner import load_checkpoint

    monkeypatch.chdir(tmp_path)
    with only_weights(), pytest.raises(UserError):
        load_checkpoint(torch.nn.Linear(1, 1), str(hostile))
    assert not Path('taken').exists()
    load_checkpoint(torch.nn.Linear(1, 1), str(hostile))
    assert Path('taken').exists()


def test_getattr_is_no_way_around(tmp_path):
    class Reach:
        def __reduce__(self):
            return getattr, (torch.nn.Linear, '__init__')

    torch.save({'state_dict': {'a': torch.ones(1)}, 'meta': Reach()}, tmp_path / 'odd.pth')
    with pytest.raises(UserError, match=r'odd\.pth'):
        read_checkpoint(str(tmp_path / 'odd.pth'))


def test_a_class_that_a_project_allows(tmp_path):
    content = {'state_dict': {'a': torch.ones(1)}, 'meta': {'own': Kept()}}
    torch.save(content, tmp_path / 'own.pth')
    with pytest.raises(UserError, match=r'test_hostile_checkpoints\.Kept'):
        read_checkpoint(str(tmp_path / 'own.pth'))
    with torch.serialization.safe_globals([Kept]):
        read_checkpoint(str(tmp_path / 'own.pth'))
    assert Kept not in torch.serialization.get_safe_globals()


class Kept:
    pass


def of_others(content):
    content['optimizer']['param_groups'] *= 2


def of_other_parameters(content):
    content['optimizer']['state'][0]['exp_avg'] = torch.ones(2, 5)


FORGED = {
    'its meta is a int': lambda content: content.update(meta=5),
    "its meta['dataset_meta'] is a int": lambda content: content['meta'].update(dataset_meta=5),
    "its meta['dataset_meta']['classes'] is a int": lambda content: content['meta'].update(
        dataset_meta=dict(classes=5)
    ),
    "its meta['epoch'] is a str": lambda content: content['meta'].update(epoch='x', iter=[]),
    "its meta['iter'] is a list": lambda content: content['meta'].update(iter=[]),
    'parameter groups': of_others,
    'is (2, 5)': of_other_parameters,
    'message_hub': lambda content: content.pop('message_hub'),
}


@pytest.mark.parametrize('words', FORGED)
def test_forged_facts_are_named(tool, config, checkpoint, digits, tmp_path, words):
    content = torch.load(checkpoint, weights_only=False)
    FORGED[words](content)
    torch.save(content, tmp_path / 'forged.pth')
    for name in ('image_demo', 'train'):
        if name == 'image_demo' and words in ('parameter groups', 'is (2, 5)', 'message_hub'):
            continue  # of no use to it
        done = tool(name, *fill(TOOLS[name], config, tmp_path / 'forged.pth', digits))
        line = done.err.splitlines()[-1]
        assert done.status == 1 and 'Traceback' not in done.err, done.err
        assert line.startswith('error: ') and 'forged.pth' in line and words in line, line
        assert 'use ' in line


# --- what a checkpoint says beside its weights ---------------------------------------------------


@pytest.fixture
def resumable(digits, checkpoint, tmp_path, monkeypatch):
    """A run that resumes a checkpoint with other facts in it."""
    monkeypatch.chdir(tmp_path)

    def resume(change, **options):
        content = torch.load(checkpoint, weights_only=False)
        change(content)
        torch.save(content, tmp_path / 'changed.pth')
        cfg = tiny.load(digits, tmp_path / 'run', **options)
        return launch.train(cfg, resume=str(tmp_path / 'changed.pth'))

    return resume


def test_a_config_in_a_checkpoint_is_not_run(resumable):
    def change(content):
        content['meta']['config'] = "import os\nos.mkdir('taken')\n"

    resumable(change)
    assert not Path('taken').exists()


def test_the_best_checkpoint_of_others_is_not_deleted(resumable, tmp_path):
    """MMEngine deletes what it replaces, be it a folder."""
    precious = tmp_path / 'precious'
    precious.mkdir()
    (precious / 'best_thesis.pth').write_text('years of work')

    def change(content):
        facts = content['message_hub']['runtime_info']
        facts |= dict(best_ckpt=str(precious), best_score=-1.0, keep_ckpt_ids=['/../../precious'])

    options = dict(save_best='coco/bbox_mAP', max_keep_ckpts=1)
    resumable(change, **{f'default_hooks__checkpoint__{key}': v for key, v in options.items()})
    assert list((tmp_path / 'run').glob('best_*.pth'))
    assert (precious / 'best_thesis.pth').read_text() == 'years of work'


def test_the_best_checkpoint_of_a_copied_run_is_its_own(digits, tmp_path):
    options = dict(default_hooks__checkpoint__save_best='coco/bbox_mAP', train_cfg__max_epochs=1)
    run = tiny.train(tiny.load(digits, tmp_path / 'run', **options))
    (best,) = run.glob('best_*.pth')
    content = torch.load(run / 'epoch_1.pth', weights_only=False)
    content['message_hub']['runtime_info']['best_score'] = -1.0
    torch.save(content, run / 'epoch_1.pth')
    copy = shutil.copytree(run, tmp_path / 'copy')
    tiny.train(tiny.load(digits, copy, **options | dict(train_cfg__max_epochs=2)), resume='auto')
    assert best.is_file()
    (new,) = copy.glob('best_*.pth')
    assert new.name != best.name
