"""What a training starts from and how long it is: weights, and iterations of another batch."""

import json
import zipfile
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from rankdet.analysis.paper_tables import find_rows, read_papers
from rankdet.analysis.reproduce.batch import as_many_images
from rankdet.analysis.reproduce.plan import parsed
from rankdet.analysis.reproduce.records import read_results
from rankdet.analysis.reproduce.run import record_row
from rankdet.engine.errors import UserError
from tests.analysis.played import ours, states

ROOT = Path(__file__).parents[2]
NOWHERE = 'http://127.0.0.1:9/weights-0.pth'  # the discard port: refused at once


def append(play, text):
    with (play.root / 'configs/one/net.py').open('a') as file:
        file.write(f'\n{text}\n')


def of_a_file(play, name=NOWHERE):
    append(play, f"model['backbone']['init_cfg'] = dict(type='Pretrained', checkpoint='{name}')")


# --- weights ---------------------------------------------------------------------------------


def test_random_weights_are_another_training(play, monkeypatch):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(play.root / 'hub'))
    of_a_file(play)
    monkeypatch.setenv('BACKBONES', 'none')
    assert states(play('t/plain')) == dict(plain='measured')
    entry = read_results(Path('work/results.jsonl'))['one/t/plain']
    begin = 'BACKBONES=none python tools/train.py configs/one/net.py --work-dir work/net_random '
    assert entry['command'].startswith(begin)
    assert ' && python tools/test.py ' in entry['command']
    assert states(play('t/plain')) == dict(plain='measured') and len(play.player.tools) == 2

    monkeypatch.delenv('BACKBONES')
    weights = play.root / 'hub/checkpoints/weights-0.pth'
    weights.parent.mkdir(parents=True)
    torch.save({'weight': torch.zeros(1)}, weights)
    assert states(play('t/plain')) == dict(plain='measured')  # not taken for this one
    assert play.player.tools == ['train', 'test'] * 2
    other = read_results(Path('work/results.jsonl'))['one/t/plain']
    assert 'BACKBONES' not in other['command'] and 'remark' not in other
    assert '--work-dir work/net ' in other['command'] and other['digest'] != entry['digest']


def test_random_weights_do_not_come_into_the_table(play, monkeypatch):
    of_a_file(play)
    monkeypatch.setenv('BACKBONES', 'none')
    (outcome,) = play('t/plain', record=True)
    assert outcome.state == 'failed' and not play.player.commands
    assert 'leave out --record' in outcome.text
    play('t/plain')
    (row,) = find_rows(read_papers(play.root / 'configs'), ['t/plain'])
    with pytest.raises(UserError, match=r'^one/t/plain was trained from random weights; .*'):
        record_row(row, [], play.root, Path('work'))
    assert ours(play.root, 'plain') is None


def test_a_network_that_starts_at_random_anyhow(play, monkeypatch):
    monkeypatch.setenv('BACKBONES', 'none')
    assert states(play('t/plain', record=True)) == dict(plain='measured')
    assert ours(play.root, 'plain')['Command'].startswith('python tools/train.py')


@pytest.mark.parametrize('junk', [False, True])
def test_weights_are_checked_before_any_training(play, monkeypatch, capsys, junk):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(play.root / 'hub'))
    of_a_file(play)
    if junk:
        (play.root / 'weights-0.pth').write_text('no weights')
        monkeypatch.setenv('BACKBONES', str(play.root))
    outcomes = play('t/plain', 't/delta')
    assert states(outcomes) == dict(plain='failed', delta='failed') and not play.player.commands
    assert {outcome.text for outcome in outcomes} == {outcomes[0].text}
    assert ('no readable checkpoint' if junk else 'BACKBONES=FOLDER') in outcomes[0].text
    assert capsys.readouterr().out.count(f'checking the weights {NOWHERE}') == 1


def test_a_test_alone_needs_no_weights(play, monkeypatch):
    play('t/plain')
    file = Path('work/net/training.json')
    of_a_file(play)
    facts = json.loads(file.read_text())
    monkeypatch.setattr('rankdet.analysis.reproduce.run.fingerprint', lambda *_, **__: 'same')
    file.write_text(json.dumps(facts | dict(digest='same')))
    assert states(play('t/plain', again=True)) == dict(plain='measured')
    assert play.player.tools == ['train', 'test', 'test']


# --- iterations ------------------------------------------------------------------------------


@pytest.mark.parametrize(('world', 'factor'), [(1, 8), (2, 4), (4, 2), (16, 0.5)])
def test_as_many_images_on_other_processes(world, factor):
    folder = ROOT / 'configs/dr_loss'
    cfg = Config.fromfile(folder / 'retinanet_r50-caffe_fpn_dr-loss_8xb2-90k_coco-800.py')
    cfg.merge_from_dict(parsed(as_many_images(cfg, world)))
    assert cfg.train_cfg.max_iters * world == 90000 * 8  # images, by two
    assert cfg.param_scheduler[1].milestones == [60000 * factor, 80000 * factor]
    assert cfg.param_scheduler[0].end == 500
    assert cfg.train_cfg.val_interval == 10000 * factor
    assert cfg.default_hooks.checkpoint.interval == 2500 * factor
    assert cfg.optim_wrapper.optimizer.lr == 0.01  # --auto-scale-lr does that


def test_schedules_that_nothing_is_known_of():
    cfg = Config(
        dict(
            train_cfg=dict(max_iters=10),
            train_dataloader=dict(batch_size=2),
            auto_scale_lr=dict(base_batch_size=8),
            param_scheduler=[dict(type='CosineAnnealingLR', by_epoch=False, T_max=10)],
        )
    )
    assert as_many_images(cfg, 4) == []
    with pytest.raises(UserError, match=r'batch of 8; its CosineAnnealingLR .* set --gpus 4'):
        as_many_images(cfg, 1)
    cfg.train_cfg = dict(max_epochs=10)
    assert as_many_images(cfg, 1) == []


def by_iteration(play):
    append(
        play,
        "train_cfg = dict(type='IterBasedTrainLoop', max_iters=40, val_interval=10)\n"
        "param_scheduler = [dict(type='MultiStepLR', by_epoch=False, milestones=[30])]\n"
        'auto_scale_lr = dict(base_batch_size=8)',
    )
    usual = type(play.player).__call__

    def leave(player, command, variables):
        status = usual(player, command, variables)
        if status == 0 and 'train' in player.tool(command):
            folder = Path(command[command.index('--work-dir') + 1])
            options = parsed(command[command.index('--cfg-options') + 1 :])
            with zipfile.ZipFile(folder / f'iter_{options["train_cfg.max_iters"]}.pth', 'w') as f:
                f.writestr('data', '')
        return status

    return leave


def test_a_run_of_iterations_on_fewer_processes(play, monkeypatch, capsys):
    monkeypatch.setattr(type(play.player), '__call__', by_iteration(play))
    assert states(play('t/plain', gpus=2)) == dict(plain='measured')
    options = '--cfg-options train_cfg.max_iters=80 train_cfg.val_interval=20 '
    options += "'param_scheduler.0.milestones=[60]'"
    command = read_results(Path('work/results.jsonl'))['one/t/plain']['command']
    assert f' --resume --auto-scale-lr {options} && ' in command
    assert 'iter_80.pth' in command and 'another batch' in capsys.readouterr().out
    # Once trained, it is tested on any number.
    assert states(play('t/score', gpus=1)) == dict(score='measured')
    assert play.player.tools == ['dist_train', 'dist_test', 'test']


def test_a_run_of_iterations_goes_on_with_as_many_processes(play, monkeypatch):
    monkeypatch.setattr(type(play.player), '__call__', by_iteration(play))
    play.player.fails = lambda command: True
    play('t/plain', gpus=2)
    play.player.fails = lambda command: False
    (outcome,) = play('t/plain', gpus=1)
    assert outcome.state == 'failed' and 'work/net holds a training on 1 x 2' in outcome.text
    assert states(play('t/plain', gpus=2)) == dict(plain='measured')
