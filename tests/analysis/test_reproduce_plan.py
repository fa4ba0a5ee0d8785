"""What rows share, what their folders are called, and when a result still holds."""

import os
import zipfile

import pytest
from mmengine.config import Config

from rankdet.analysis.paper_tables import Row
from rankdet.analysis.reproduce import plan as planning
from rankdet.analysis.reproduce.plan import as_arguments, fingerprint, last_checkpoint, plan


def row(name, config='configs/a/net.py', **options):
    return Row('a', 'table', name, name, model=config and 'net', config=config, **options)


def test_rows_with_the_same_training_share_it():
    rows = [
        row('plain'),
        row('delta', options={'model.delta': 0.5, 'model.b': True}),
        row('other-order', options={'model': {'b': True, 'delta': 0.5}}),
        row('test-only', test_options={'model.test_cfg.score_thr': 0.1}),
        row('several-scales', tta=True),
        row('other', config='configs/a/other.py'),
        row('quoted', config=None),
    ]
    trainings = plan(rows)
    shared = [[row.name for row in training.rows] for training in trainings]
    assert shared == [['plain', 'test-only', 'several-scales'], ['delta', 'other-order'], ['other']]
    names = [training.name for training in trainings]
    assert names[0] == 'net' and names[2] == 'other'
    assert names[1].startswith('net_b-True_delta-0.5_')
    assert planning.test_options(rows[3]) == ('model.test_cfg.score_thr=0.1',)


def test_names_differ_where_options_do():
    one, other = plan([row('a', options={'x.lr': 1.0}), row('b', options={'y.lr': 1.0})])
    assert one.name != other.name
    folders = {planning.test_folder(row(name)) for name in ('a b', 'ab', 'a+b')}
    assert len(folders) == 3 and not any(set(folder) & set(' /') for folder in folders)


@pytest.mark.parametrize(
    'options, arguments',
    [
        ({'a.b': 0.25, 'c': 8, 'd': False}, ['a.b=0.25', 'c=8', 'd=False']),
        ({'a': {'type': 'IoULoss', '_delete_': True}}, ['a.type=IoULoss', 'a._delete_=True']),
        (
            {'steps': [60, 80], 'scales': [[1, 2], [3, 4]]},
            ['steps=[60,80]', 'scales=[[1,2],[3,4]]'],
        ),
        ({'a': None, 'b': 1e-05, 'c': -1}, ['a=None', 'b=1e-05', 'c=-1']),
    ],
)
def test_options_as_a_command_line_takes_them(options, arguments):
    assert as_arguments(options) == arguments


@pytest.mark.parametrize(
    'value', [{}, '0.5', 'True', 'None', 'two words', 'a,b', 'a(,', float('nan')]
)
def test_options_that_would_be_read_as_something_else(value):
    with pytest.raises(ValueError, match=r'the row: key = .* cannot be given as --cfg-options'):
        as_arguments({'key': value}, 'the row')


def config(**changes):
    cfg = Config(
        dict(
            model=dict(type='Net', delta=1.0, test_cfg=dict(score_thr=0.1)),
            train_cfg=dict(max_epochs=3),
            train_dataloader=dict(dataset=dict(data_root='here', ann_file='a'), num_workers=4),
            test_dataloader=dict(dataset=dict(data_root='here', ann_file='b')),
            optim_wrapper=dict(optimizer=dict(lr=0.1)),
        )
    )
    cfg.merge_from_dict({key.replace('__', '.'): value for key, value in changes.items()})
    return cfg


@pytest.mark.parametrize(
    'changes, trains, tests',
    [
        (dict(model__delta=2.0), True, True),
        (dict(optim_wrapper__optimizer__lr=0.2), True, True),
        (dict(train_cfg__max_epochs=4), True, True),
        (dict(train_dataloader__dataset__ann_file='c'), True, True),
        (dict(model__test_cfg__score_thr=0.2), False, True),
        (dict(test_dataloader__dataset__ann_file='c'), False, True),
        (dict(tta_pipeline=[dict(type='TestTimeAug')]), False, True),
        (dict(train_dataloader__dataset__data_root='there'), False, False),
        (dict(test_dataloader__dataset__data_root='there'), False, False),
        (dict(train_dataloader__num_workers=0), False, False),
        (dict(work_dir='elsewhere'), False, False),
    ],
)
def test_what_makes_another_training_or_test(changes, trains, tests):
    before, after = config(), config(**changes)
    assert (fingerprint(before) != fingerprint(after)) == trains
    assert (fingerprint(before, test=True) != fingerprint(after, test=True)) == tests


@pytest.mark.parametrize(
    'train_cfg, name', [(dict(max_epochs=3), 'epoch_3.pth'), (dict(max_iters=50), 'iter_50.pth')]
)
def test_the_end_of_a_training(tmp_path, train_cfg, name):
    cfg = Config(dict(train_cfg=train_cfg, work_dir=str(tmp_path)))
    assert last_checkpoint(cfg) is None
    (tmp_path / name).write_bytes(b'cut short')
    assert last_checkpoint(cfg) is None
    with zipfile.ZipFile(tmp_path / name, 'w') as file:
        file.writestr('data', '')
    assert last_checkpoint(cfg) == tmp_path / name


def test_an_environment_for_a_while(monkeypatch):
    monkeypatch.setenv('RANKDET_A', 'before')
    monkeypatch.delenv('RANKDET_B', raising=False)
    with pytest.raises(KeyError), planning.environment({'RANKDET_A': 'x', 'RANKDET_B': 'y'}):
        assert (os.environ['RANKDET_A'], os.environ['RANKDET_B']) == ('x', 'y')
        raise KeyError
    assert os.environ['RANKDET_A'] == 'before' and 'RANKDET_B' not in os.environ
