"""Two CPU processes through the launch scripts train one model and measure one result."""

import json
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from rankdet.engine import launch
from tests.engine import tiny
from tests.engine.misfortune import EVENT, running
from tests.tools import cli

RATE, BATCH, BASE_BATCH = 0.002, 2, 8  # of the tiny configs; one image on each process


@pytest.fixture(scope='module')
def folder(digits, tmp_path_factory):
    """A config of two epochs of three steps: both stages of Faster R-CNN rank, in one scope, and
    their samplers draw."""
    folder = tmp_path_factory.mktemp('distributed')
    tiny.write(
        folder / 'config.py',
        digits,
        config=tiny.FASTER_RCNN,
        **tiny.RANDOM_SAMPLING,
        model__rpn_head__loss_cls__scope='global',
        model__roi_head__bbox_head__loss_cls__scope='global',
        train_dataloader__batch_size=1,
        param_scheduler=[],
        custom_hooks=[dict(type='SelfBalanceHook'), dict(type='Witness'), dict(type='Misfortune')],
        custom_imports=dict(
            imports=['rankdet.plugin', 'tests.engine.witness', 'tests.engine.misfortune']
        ),
    )
    return folder


@pytest.fixture(scope='module')
def run(folder):
    """The folder of a run without a break, by two nodes with one process each."""
    arguments = ['dist_train.sh', folder, 1, '--work-dir', folder / 'run', '--auto-scale-lr']
    nodes = dict(NNODES='2', MASTER_ADDR='127.0.0.1', PORT=free_port())
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(call, *arguments, **nodes, NODE_RANK=rank) for rank in '01']
    for done in [future.result() for future in calls]:
        assert done.status == 0, done.err[-3000:]
    return folder / 'run'


def call(script, folder, *arguments, **environment):
    command = ['bash', cli.ROOT / 'tools' / script, folder / 'config.py', *arguments]
    environment = dict(PORT=free_port(), PYTHONPATH=str(cli.ROOT)) | environment
    return cli.run_alone(command, folder, **environment)


def free_port():
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        return str(free.getsockname()[1])


def records(run):
    (path,) = run.glob('*/vis_data/scalars.json')
    return [json.loads(line) for line in path.read_text().splitlines()]


def witnesses(run):
    return [torch.load(run / f'process_{rank}.witness') for rank in (0, 1)]


def assert_same(state, other):
    assert state.keys() == other.keys()
    for key, value in state.items():
        assert torch.equal(value, other[key]), key


def test_both_ends_hold_the_same_weights_and_balance(run):
    first, second = witnesses(run)
    assert_same(first['state'], second['state'])
    assert_same(first['state'], tiny.weights(run / 'epoch_2.pth'))
    balance = [value for key, value in first['state'].items() if key.endswith('sb_weight')]
    assert len(balance) == 2 and all(value not in (0, 50) for value in balance)


def test_every_image_is_seen_once_an_epoch(run):
    first, second = (witness['seen'] for witness in witnesses(run))
    for epoch in (slice(0, 3), slice(3, 6)):
        assert sorted(first[epoch] + second[epoch]) == [1, 2, 3, 4, 5, 6]


def test_one_process_writes_the_log(run):
    losses = [record for record in records(run) if 'loss' in record]
    assert [record['step'] for record in losses] == [1, 2, 3, 4, 5, 6]
    assert len(list(run.glob('*/*.log'))) == 1
    (start,) = json.loads((run / 'run.json').read_text())
    assert start['environment']['WORLD_SIZE'] == '2' and '2 ' in start['device']


def test_the_rate_counts_the_images_of_all_processes(run):
    rates = [record['lr'] for record in records(run) if 'lr' in record]
    assert rates == pytest.approx([RATE * BATCH / BASE_BATCH] * 6)


def test_the_measure_is_that_of_one_process(run, folder, digits, tmp_path):
    """Three images over two processes: the one that fills up the last batch counts once."""
    checkpoint = run / 'epoch_2.pth'
    done = call('dist_test.sh', folder, checkpoint, 2, '--work-dir', tmp_path / 'two')
    assert done.status == 0, done.err[-3000:]
    (path,) = (tmp_path / 'two').glob('*/*.json')
    (line,) = path.read_text().splitlines()
    two = json.loads(line)
    cfg = tiny.load(digits, tmp_path / 'one', config=tiny.FASTER_RCNN)
    one = launch.test(cfg, str(checkpoint))
    assert one and {key: two[key] for key in one} == pytest.approx(one)


def test_ended_processes_go_on_where_they_were(run, folder, tmp_path):
    """One of them is killed in the second epoch; the resumed run is ended by its scheduler.

    Both are of one node here, and end with the weights of two nodes.
    """
    arguments = ['dist_train.sh', folder, 2, '--work-dir', tmp_path / 'run', '--auto-scale-lr']
    lost = call(*arguments, **{EVENT: 'lost_process 5'})
    assert lost.status == 1 and 'Traceback' not in lost.err, lost.err[-3000:]
    assert 'error: process 1 of this run was killed by SIGKILL' in lost.err
    ended = call(*arguments, '--resume', **{EVENT: 'scheduler 5'})
    assert ended.status == 143 and 'Traceback' not in ended.err, ended.err[-3000:]
    how_on = f'continue with --resume (from {tmp_path / "run/epoch_1.pth"})'
    assert ended.err.count(f'\nended by SIGTERM; {how_on}\n') == 1
    assert not running(tmp_path / 'run')
    assert sorted(path.name for path in (tmp_path / 'run').glob('*.pth')) == ['epoch_1.pth']
    done = call(*arguments, '--resume')
    assert done.status == 0, done.err[-3000:]
    for whole, resumed in zip(witnesses(run), witnesses(tmp_path / 'run')):
        assert_same(whole['state'], resumed['state'])
        assert resumed['seen'] == whole['seen'][3:]


@pytest.mark.parametrize('script', ['dist_train.sh', 'dist_test.sh'])
def test_a_script_says_how_it_is_called(script, tmp_path):
    done = cli.run_alone(['bash', cli.ROOT / 'tools' / script], tmp_path)
    assert done.status == 2 and f'tools/{script} CONFIG' in done.err and not done.out
