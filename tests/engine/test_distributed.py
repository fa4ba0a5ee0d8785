"""Two CPU processes through the launch scripts train one model and measure one result."""

import hashlib
import json
import socket

import pytest

from rankdet.engine import launch
from tests.engine import tiny
from tests.tools import cli

HOOK = '''
import hashlib
from pathlib import Path

import torch.distributed as dist
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class Witness(Hook):
    """Each process leaves what it holds at the end, and which images it saw."""

    seen = ()

    def after_train_iter(self, runner, batch_idx, data_batch, outputs):
        self.seen += tuple(sample.img_id for sample in data_batch['data_samples'])

    def after_train(self, runner):
        digest = hashlib.sha256()
        for _, value in sorted(runner.model.module.named_parameters()):
            digest.update(value.detach().numpy().tobytes())
        path = Path(runner.work_dir) / f'process_{dist.get_rank()}.txt'
        path.write_text(' '.join([digest.hexdigest(), *map(str, self.seen)]))
'''


@pytest.fixture(scope='module')
def run(digits, tmp_path_factory):
    """The folder of a run of two processes: one epoch of six images, one image a step each."""
    folder = tmp_path_factory.mktemp('distributed')
    (folder / 'witness.py').write_text(HOOK)
    config = tiny.write(
        folder / 'config.py',
        digits,
        train_dataloader__batch_size=1,
        train_cfg__max_epochs=1,
        train_cfg__val_interval=1,
        custom_hooks=[dict(type='Witness')],
        custom_imports=dict(imports=['rankdet.plugin', 'witness']),
    )
    call('dist_train.sh', config, 2, '--work-dir', folder / 'run')
    return folder / 'run'


def call(script, config, *arguments):
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    done = cli.run_alone(
        ['bash', cli.ROOT / 'tools' / script, config, *arguments],
        config.parent,
        PORT=str(port),
        PYTHONPATH=str(config.parent),
    )
    assert done.status == 0, done.err[-3000:]
    return done


def records(run):
    (path,) = run.glob('*/vis_data/scalars.json')
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_both_ends_hold_the_same_weights(run):
    first, second = ((run / f'process_{rank}.txt').read_text().split() for rank in (0, 1))
    assert first[0] == second[0]
    saved, digest = tiny.weights(run / 'epoch_1.pth'), hashlib.sha256()
    model = launch.Runner.from_cfg(tiny.load(run.parent, run.parent / 'other')).model
    for name, _ in sorted(model.named_parameters()):
        digest.update(saved[name].numpy().tobytes())
    assert digest.hexdigest() == first[0]
    assert sorted(first[1:] + second[1:]) == ['1', '2', '3', '4', '5', '6']  # each image once


def test_one_process_writes_the_log(run):
    losses = [record for record in records(run) if 'loss' in record]
    assert [record['step'] for record in losses] == [1, 2, 3]
    assert len(list(run.glob('*/*.log'))) == 1


def test_the_measure_is_that_of_one_process(run, digits, tmp_path):
    """Three images over two processes: the one that fills up the last batch counts once."""
    config = tiny.write(tmp_path / 'config.py', digits)
    call('dist_test.sh', config, run / 'epoch_1.pth', 2, '--work-dir', tmp_path / 'two')
    (path,) = (tmp_path / 'two').glob('*/*.json')
    (line,) = path.read_text().splitlines()
    two = json.loads(line)
    one = launch.test(tiny.load(digits, tmp_path / 'one'), str(run / 'epoch_1.pth'))
    assert {key: two[key] for key in one} == pytest.approx(one)


@pytest.mark.parametrize('script', ['dist_train.sh', 'dist_test.sh'])
def test_a_script_says_how_it_is_called(script, tmp_path):
    done = cli.run_alone(['bash', cli.ROOT / 'tools' / script], tmp_path)
    assert done.status == 2 and f'tools/{script} CONFIG' in done.err and not done.out
