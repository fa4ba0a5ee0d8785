"""Which checkpoint of a run is the newest; names, folders and numbers."""

import zipfile

import pytest
from mmengine.config import ConfigDict

from rankdet.engine.checkpoints import checkpoint_to_resume, latest_checkpoint, saved_within_epoch


def save(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, 'w') as file:
        file.writestr('data', 'x' * 1000)
    return path


@pytest.mark.parametrize(
    'template, older, newer, others',
    [
        (None, 'epoch_9.pth', 'epoch_10.pth', ['epoch_11.pth.tmp', 'best_epoch_12.pth']),
        ('model_{}.pth', 'model_2.pth', 'model_10.pth', ['model_x.pth', 'a_model_11.pth']),
        ('m{:04d}+.pth', 'm0009+.pth', 'm0010+.pth', ['m0011.pth']),
    ],
)
def test_names(tmp_path, template, older, newer, others):
    for name in (newer, older, *others):
        save(tmp_path / name)
    saving = dict(type='CheckpointHook', filename_tmpl=template)
    assert latest_checkpoint(tmp_path, saving) == tmp_path / newer


def test_an_own_folder_comes_before_that_of_the_run(tmp_path):
    run = tmp_path / 'runs/mine'
    save(run / 'epoch_5.pth')
    saving = dict(type='CheckpointHook', out_dir=str(tmp_path / 'out'))
    path = save(tmp_path / 'out/mine/epoch_2.pth')
    save(tmp_path / 'out/other/epoch_3.pth')
    assert latest_checkpoint(f'{run}/', saving) == path
    assert latest_checkpoint(run) == run / 'epoch_5.pth'


def test_the_record_counts_where_there_are_no_files(tmp_path):
    elsewhere = save(tmp_path / 'elsewhere/odd name.pth')
    run = tmp_path / 'run'
    run.mkdir()
    (run / 'last_checkpoint').write_text(str(elsewhere))
    assert latest_checkpoint(run) == elsewhere
    own = save(run / 'iter_3.pth')
    assert latest_checkpoint(run) == own


@pytest.mark.parametrize(
    'loop, expected',
    [
        (dict(type='EpochBasedTrainLoop', max_epochs=2), 'epoch_1.pth'),
        (dict(by_epoch=True, max_epochs=2), 'epoch_1.pth'),
        (dict(type='IterBasedTrainLoop', max_iters=2), 'iter_2.pth'),
        (dict(by_epoch=False, max_iters=2), 'iter_2.pth'),
    ],
)
def test_only_runs_that_count_epochs_need_whole_ones(tmp_path, loop, expected):
    for name in ('epoch_1.pth', 'iter_2.pth'):
        save(tmp_path / name)  # no weights in them: the name decides
    cfg = ConfigDict(work_dir=str(tmp_path), train_cfg=loop)
    assert checkpoint_to_resume(cfg, 'auto').name == expected
    assert saved_within_epoch(tmp_path / 'iter_2.pth')
