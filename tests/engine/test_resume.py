"""A run that was interrupted ends with the weights of one that was not, bit for bit."""

import shutil
import sys

import pytest
import torch

from rankdet.engine import checkpoints, launch
from rankdet.engine.checkpoints import is_complete, saved_within_epoch
from rankdet.engine.errors import UserError
from rankdet.engine.seeded_iterations import SeededIterations
from tests.engine import tiny
from tests.engine.witness import KILL_AT
from tests.tools import cli

LOADERS = [(0, False), (2, False), (2, True)]  # workers, persistent
UNSEEDED = dict(  # what MMDetection's own configs do
    train_dataloader__sampler__type='DefaultSampler',
    train_dataloader__dataset__type='RepeatDataset',
    train_dataloader__dataset__times=1,
)
BY_ITERATION = dict(
    train_dataloader__sampler__type='SeededInfiniteSampler',
    train_cfg=dict(_delete_=True, type='IterBasedTrainLoop', max_iters=7, val_interval=100),
    default_hooks__checkpoint__by_epoch=False,
    default_hooks__checkpoint__interval=4,  # in the middle of the second epoch
    log_processor__by_epoch=False,
    param_scheduler=[dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=6)],
)

# Two stages by aLRP Loss whose samplers draw, and a backbone that drops blocks of features.
DRAWING = tiny.RANDOM_SAMPLING | dict(
    config=tiny.FASTER_RCNN,
    model__backbone__depth=50,
    model__neck__in_channels=[32, 64],
    model__backbone__plugins=[
        dict(
            cfg=dict(type='DropBlock', drop_prob=0.3, block_size=3, warmup_iters=0, postfix=''),
            stages=(False, True),
            position='after_conv3',
        )
    ],
    custom_hooks=[dict(type='SelfBalanceHook')],
)
DRAWING_BY_ITERATION = (
    DRAWING
    | BY_ITERATION  # the checkpoint lies in the middle of the second period of self-balancing
    | dict(custom_hooks=[dict(type='SelfBalanceHook', by_epoch=False, interval=3)])
)


def loader(workers, persistent):
    return dict(
        train_dataloader__num_workers=workers, train_dataloader__persistent_workers=persistent
    )


def interrupted(run, copy, last):
    """A copy of a run's folder as a kill before its last checkpoint would have left it."""
    shutil.copytree(run, copy)
    (copy / last).unlink()
    (copy / 'last_checkpoint').unlink()
    return copy


def assert_same(run, other):
    states = [torch.load(path, weights_only=False) for path in (run, other)]
    for key, value in states[0]['state_dict'].items():
        assert torch.equal(value, states[1]['state_dict'][key]), key
    moments = [state['optimizer']['state'] for state in states]
    assert moments[0].keys() == moments[1].keys()
    for index, moment in moments[0].items():
        assert all(torch.equal(moment[key], moments[1][index][key]) for key in moment), index
    assert states[0]['param_schedulers'] == states[1]['param_schedulers']


@pytest.fixture(scope='module')
def whole(digits, tmp_path_factory):
    """Two epochs without a break."""
    return tiny.train(tiny.load(digits, tmp_path_factory.mktemp('whole') / 'run'))


@pytest.mark.parametrize('workers, persistent', LOADERS)
def test_by_epoch(whole, digits, tmp_path, workers, persistent):
    options = loader(workers, persistent)
    if workers:  # without a break, but with workers
        run = tiny.train(tiny.load(digits, tmp_path / 'run', **options))
        assert_same(whole / 'epoch_2.pth', run / 'epoch_2.pth')
    copy = interrupted(whole, tmp_path / 'copy', 'epoch_2.pth')
    tiny.train(tiny.load(digits, copy, **options), resume='auto')
    assert_same(whole / 'epoch_2.pth', copy / 'epoch_2.pth')
    assert (copy / 'last_checkpoint').read_text() == str(copy / 'epoch_2.pth')


def test_by_iteration(digits, tmp_path):
    run = tiny.train(tiny.load(digits, tmp_path / 'run', **BY_ITERATION))
    copy = interrupted(run, tmp_path / 'copy', 'iter_7.pth')
    tiny.train(tiny.load(digits, copy, **BY_ITERATION, **loader(2, True)), resume='auto')
    assert_same(run / 'iter_7.pth', copy / 'iter_7.pth')


@pytest.mark.parametrize(
    'options, last',
    [(DRAWING, 'epoch_2.pth'), (DRAWING_BY_ITERATION, 'iter_7.pth')],
    ids=['epochs', 'iterations'],
)
def test_a_model_that_draws_random_numbers(digits, tmp_path, options, last):
    run = tiny.train(tiny.load(digits, tmp_path / 'run', **options))
    copy = interrupted(run, tmp_path / 'copy', last)
    tiny.train(tiny.load(digits, copy, **options), resume='auto')
    assert_same(run / last, copy / last)
    balance = [v for key, v in tiny.weights(copy / last).items() if key.endswith('sb_weight')]
    assert len(balance) == 2 and all(value != 50 for value in balance)


def test_the_seeded_iterations_are_what_makes_it_so(digits, tmp_path, monkeypatch):
    """The same check fails without them: the draws of this model matter."""
    monkeypatch.setattr(SeededIterations, 'before_train_iter', lambda *_, **__: None)
    with pytest.raises(AssertionError):
        test_a_model_that_draws_random_numbers(digits, tmp_path, DRAWING, 'epoch_2.pth')


def test_a_seed_that_no_config_names(digits, tmp_path):
    """MMEngine draws one and saves it; the resumed run takes it up from its first image on."""
    options = DRAWING | dict(randomness__seed=None)
    run = tiny.train(tiny.load(digits, tmp_path / 'run', **options))
    copy = interrupted(run, tmp_path / 'copy', 'epoch_2.pth')
    tiny.train(tiny.load(digits, copy, **options), resume='auto')
    assert_same(run / 'epoch_2.pth', copy / 'epoch_2.pth')


def test_a_killed_run(digits, tmp_path):
    """SIGKILL in the middle of the third epoch; the newest checkpoint was not written to its end.

    A process of its own is killed and another resumes; this one runs without a break.
    """
    options = DRAWING_BY_ITERATION | dict(
        train_cfg__max_iters=8,
        default_hooks__checkpoint__interval=2,
        custom_imports=dict(imports=['rankdet.plugin', 'tests.engine.witness']),
    )
    options['custom_hooks'] = [*options['custom_hooks'], dict(type='Killer')]
    config = tiny.write(tmp_path / 'config.py', digits, **options)
    command = [sys.executable, cli.ROOT / 'tools/train.py', config, '--work-dir', tmp_path / 'run']
    environment = dict(PYTHONPATH=str(cli.ROOT))
    killed = cli.run_alone(command, tmp_path, **environment, **{KILL_AT: '7'})
    assert killed.status == -9
    cut = tmp_path / 'run/iter_6.pth'
    cut.write_bytes(cut.read_bytes()[:-1000])
    done = cli.run_alone([*command, '--resume'], tmp_path, **environment)
    assert done.status == 0, done.err[-3000:]
    assert f'{cut} was cut short' in done.out + done.err
    assert 'resumed epoch: 0, iter: 4' in done.out + done.err
    whole = tiny.train(tiny.load(digits, tmp_path / 'whole', **options))
    assert_same(whole / 'iter_8.pth', tmp_path / 'run/iter_8.pth')


def test_the_seeded_samples_are_what_makes_it_so(whole, digits, tmp_path):
    """The same check fails on MMEngine's sampler: the augmentation of this set-up matters."""
    run = tiny.train(tiny.load(digits, tmp_path / 'run', **UNSEEDED))
    copy = interrupted(run, tmp_path / 'copy', 'epoch_2.pth')
    tiny.train(tiny.load(digits, copy, **UNSEEDED), resume='auto')
    with pytest.raises(AssertionError):
        assert_same(run / 'epoch_2.pth', copy / 'epoch_2.pth')
    weights = [tiny.weights(folder / 'epoch_1.pth') for folder in (whole, run)]
    assert not all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())


def test_a_checkpoint_cut_short_is_passed_over(whole, digits, tmp_path):
    copy = shutil.copytree(whole, tmp_path / 'copy')
    content = (copy / 'epoch_2.pth').read_bytes()
    (copy / 'epoch_2.pth').write_bytes(content[: len(content) // 2])
    tiny.train(tiny.load(digits, copy), resume='auto')
    assert_same(whole / 'epoch_2.pth', copy / 'epoch_2.pth')


def test_a_damaged_checkpoint_is_passed_over(whole, digits, tmp_path, monkeypatch):
    """As long as it was, the directory of the zip intact, and zeros in its middle third."""
    copy = shutil.copytree(whole, tmp_path / 'copy')
    damage(copy / 'epoch_2.pth')
    named = rf'^checkpoint \S+epoch_2\.pth is damaged; .*--resume {copy}/epoch_1\.pth$'
    with pytest.raises(UserError, match=named):
        launch.train(tiny.load(digits, copy), resume=str(copy / 'epoch_2.pth'))
    said = []
    monkeypatch.setattr(checkpoints, 'print_log', lambda text, *_: said.append(text))
    tiny.train(tiny.load(digits, copy), resume='auto')
    assert said == [f'{copy}/epoch_2.pth is damaged; looking for an older one']
    assert_same(whole / 'epoch_2.pth', copy / 'epoch_2.pth')
    for path in copy.glob('*.pth'):
        damage(path)
    with pytest.raises(UserError, match=r'epoch_2\.pth is damaged; no older one is whole$'):
        launch.train(tiny.load(digits, copy), resume=str(copy / 'epoch_2.pth'))
    with pytest.raises(UserError, match='but no checkpoint is left'):
        launch.train(tiny.load(digits, copy), resume='auto')


def damage(path):
    content = path.read_bytes()
    third = len(content) // 3
    path.write_bytes(content[:third] + bytes(third) + content[2 * third :])
    assert is_complete(path)


def test_a_copied_folder_resumes_from_itself(whole, digits, tmp_path):
    """``last_checkpoint`` of the copy names the original, whose weights differ by now."""
    original = shutil.copytree(whole, tmp_path / 'original')
    (original / 'last_checkpoint').write_text(str(original / 'epoch_1.pth'))
    (original / 'epoch_2.pth').unlink()
    copy = shutil.copytree(original, tmp_path / 'copy')
    (original / 'epoch_1.pth').write_bytes(b'another run')
    tiny.train(tiny.load(digits, copy), resume='auto')
    assert_same(whole / 'epoch_2.pth', copy / 'epoch_2.pth')


def test_nothing_to_resume_starts_anew(whole, digits, tmp_path):
    run = tiny.train(tiny.load(digits, tmp_path / 'run', train_cfg__max_epochs=1), resume='auto')
    for key, value in tiny.weights(whole / 'epoch_1.pth').items():
        assert torch.equal(value, tiny.weights(run / 'epoch_1.pth')[key]), key


def test_a_named_checkpoint_is_resumed(whole, digits, tmp_path):
    cfg = tiny.load(digits, tmp_path / 'run')
    run = tiny.train(cfg, resume=str(whole / 'epoch_1.pth'))
    assert_same(whole / 'epoch_2.pth', run / 'epoch_2.pth')
    assert not (run / 'epoch_1.pth').exists()


def test_a_checkpoint_within_an_epoch_is_passed_over(whole, digits, tmp_path, capsys):
    """MMEngine would begin that epoch again, with weights that have seen half of it."""
    often = dict(custom_hooks=[dict(type='CheckpointHook', by_epoch=False, interval=2)])
    run = tiny.train(tiny.load(digits, tmp_path / 'run', **often))
    assert_same(whole / 'epoch_2.pth', run / 'epoch_2.pth')
    within = [run / f'iter_{number}.pth' for number in (2, 4, 6)]
    assert [saved_within_epoch(path) for path in within] == [True, True, True]
    assert not any(saved_within_epoch(run / f'epoch_{number}.pth') for number in (1, 2))
    with pytest.raises(UserError, match=r'iter_4\.pth was saved in the middle of an epoch'):
        launch.train(tiny.load(digits, tmp_path / 'other'), resume=str(within[1]))
    copy = interrupted(run, tmp_path / 'copy', 'epoch_2.pth')
    capsys.readouterr()
    tiny.train(tiny.load(digits, copy), resume='auto')
    assert 'iter_6.pth was saved in the middle of an epoch' in ''.join(capsys.readouterr())
    assert_same(whole / 'epoch_2.pth', copy / 'epoch_2.pth')


def test_checkpoints_of_another_folder_and_name(whole, digits, tmp_path):
    saving = dict(
        default_hooks__checkpoint__out_dir=str(tmp_path / 'elsewhere'),
        default_hooks__checkpoint__filename_tmpl='model_{:03d}.pth',
    )
    run = tiny.train(tiny.load(digits, tmp_path / 'run', **saving))
    assert not list(run.glob('*.pth'))
    (tmp_path / 'elsewhere/run/model_002.pth').unlink()
    tiny.train(tiny.load(digits, run, **saving), resume='auto')
    assert_same(whole / 'epoch_2.pth', tmp_path / 'elsewhere/run/model_002.pth')
    (log,) = (path for path in run.glob('*/*.log') if 'resumed epoch: 1' in path.read_text())
    assert log.is_file()


@pytest.mark.parametrize('resume', [None, 'auto'])
def test_with_nothing_to_resume_the_weights_to_start_with_stay(
    whole, digits, tmp_path, monkeypatch, resume
):
    seen = {}

    def stop(cfg):
        seen.update(resume=cfg.resume, load_from=cfg.load_from)
        raise UserError('far enough')

    monkeypatch.setattr(launch.Runner, 'from_cfg', stop)
    start = str(whole / 'epoch_1.pth')
    with pytest.raises(UserError, match='far enough'):
        launch.train(tiny.load(digits, tmp_path / 'run', load_from=start), resume=resume)
    assert seen == dict(resume=False, load_from=start)


def test_a_run_whose_checkpoints_are_lost_does_not_start_anew(whole, digits, tmp_path):
    copy = shutil.copytree(whole, tmp_path / 'copy')
    (copy / 'last_checkpoint').write_text(str(copy / 'epoch_2.pth'))
    for path in copy.glob('*.pth'):
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match=r'last_checkpoint names .*epoch_2\.pth, but no checkpoint'):
        launch.train(tiny.load(digits, copy), resume='auto')
