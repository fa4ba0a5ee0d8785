"""A folder that was trained in twice: curves are of the last training, over its interruptions."""

import json
import os
from datetime import datetime

import pytest

import rankdet.plugin  # noqa: F401
from rankdet.analysis import figures
from rankdet.analysis.curves import read_scalars, training_seconds
from rankdet.analysis.figures.runs import Run
from rankdet.engine.checkpoints import checkpoint_to_resume, of_last_training
from tests.engine import tiny
from tests.engine.tiny import digits  # noqa: F401


def log(run, day, steps, loss):
    folder = run / f'202601{day:02}_000000' / 'vis_data'
    folder.mkdir(parents=True)
    scalars = [dict(loss=loss, time=1.0, step=step) for step in steps]
    scalars.append({'det/AP': loss, 'iter': steps[-1], 'step': 1})
    records = [
        dict(step=step, loss_cls=loss, positives=1, negatives=1, ap_loss=loss) for step in steps
    ]
    for name, content in (('scalars.json', scalars), ('losses.jsonl', records)):
        (folder / name).write_text('\n'.join(map(json.dumps, content)) + '\n')


def start(run, *starts):
    """Recorded some seconds after the folder of the day was there."""
    entries = [
        dict(what=what, time=datetime(2026, 1, day, 0, 0, 9).astimezone().isoformat())
        for day, what in starts
    ]
    (run / 'run.json').write_text(json.dumps(entries))


def found_in(run):
    """Step to loss: by MMEngine, by the recorder; iterations of validations; seconds."""
    scalars = read_scalars(run)
    return (
        {record['step']: record['loss'] for record in scalars if 'loss' in record},
        {record['step']: record['loss_cls'] for record in Run(run, 'x').records()},
        [record['iteration'] for record in scalars if 'loss' not in record],
        training_seconds(run),
    )


THREE = {10: 2.0, 20: 3.0, 30: 3.0}


@pytest.mark.parametrize('recorded', [True, False])
def test_a_second_training_is_not_joined_to_the_first(tmp_path, recorded, monkeypatch):
    said = set()
    monkeypatch.setattr('rankdet.analysis.starts.print_log', lambda text, *_: said.add(text))
    log(tmp_path, 1, [10, 20, 30, 40], 1.0)
    log(tmp_path, 2, [10, 20], 2.0)
    log(tmp_path, 3, [20, 30], 3.0)  # resumes the second
    if recorded:
        start(tmp_path, (1, 'train'), (2, 'train'), (3, 'resume'), (4, 'test'))
    assert found_in(tmp_path) == (THREE, THREE, [20, 30], 30.0)
    assert said == {
        f'{tmp_path} was trained more than once: what was logged before 20260102_000000 is left out'
    }


def test_the_record_of_the_starts_decides(tmp_path):
    log(tmp_path, 1, [10, 20], 1.0)
    log(tmp_path, 2, [5, 10, 30], 2.0)  # resumed from iteration 0, with lines more often
    start(tmp_path, (1, 'train'), (2, 'resume'))
    every = {5: 2.0, 10: 2.0, 20: 1.0, 30: 2.0}
    assert found_in(tmp_path) == (every, every, [20, 30], 30.0)
    log(tmp_path, 3, [50], 3.0)  # begins later, with lines less often
    start(tmp_path, (3, 'train'))  # the others are of MMEngine alone
    assert found_in(tmp_path)[0] == {50: 3.0}
    start(tmp_path, (1, 'train'), (2, 'resume'), (4, 'train'))
    (tmp_path / '20260104_000000/vis_data').mkdir(parents=True)  # ended before it logged
    assert found_in(tmp_path)[0] == every | {50: 3.0}
    (tmp_path / 'run.json').write_text('[{"what": "train"}]')  # somebody else's
    assert found_in(tmp_path)[0] == {5: 2.0, 10: 2.0, 30: 2.0, 50: 3.0}


def test_checkpoints_of_the_first_training(tmp_path):
    paths = [tmp_path / f'epoch_{number}.pth' for number in (1, 2, 3)]
    for path, day in zip(paths, (2, 2, 1)):
        path.touch()
        os.utime(path, (datetime(2026, 1, day, 12).timestamp(),) * 2)
    assert of_last_training(tmp_path, paths) == paths
    start(tmp_path, (1, 'train'), (2, 'train'), (2, 'resume'))
    assert of_last_training(tmp_path, paths) == paths[:2]
    start(tmp_path, (1, 'train'), (2, 'train'), (3, 'train'))  # which has left none
    assert of_last_training(tmp_path, paths) == paths[:2]


def test_two_trainings_in_one_folder(digits, tmp_path):  # noqa: F811
    options = dict(default_hooks__recorder=dict(type='LossRecorder'), train_cfg__val_interval=1)
    for epochs in (2, 1):
        cfg = tiny.load(digits, tmp_path / 'run', **options, train_cfg__max_epochs=epochs)
        run = tiny.train(cfg)
        for path in run.glob('*.pth') if epochs == 2 else ():  # starts are recorded to the second
            os.utime(path, (path.stat().st_mtime - 60,) * 2)
    assert list(run.glob('epoch_2.pth'))  # of the first
    assert checkpoint_to_resume(cfg, 'auto') == run / 'epoch_1.pth'
    assert found_in(run)[1].keys() == found_in(run)[0].keys() == {1, 2, 3}
    for measure in (False, True):
        (curve,) = figures.ap_curves(figures.open_runs([run]), measure=measure)['curves']
        assert curve['steps'] == [3]
