"""What a run logged, put together from its interruptions, and the plots of it."""

import json
import shutil

import cv2
import numpy as np
import pytest

import rankdet.plugin  # noqa: F401
from rankdet.analysis.curves import plot_training, read_scalars, training_seconds
from rankdet.analysis.figures.ap_curves import logged_metric
from rankdet.engine.errors import UserError
from tests.engine import tiny
from tests.engine.tiny import digits  # noqa: F401


def step(number, loss, **more):
    return dict(loss=loss, loss_cls=loss / 2, lr=0.1, time=2.0, step=number, **more)


def measured(epoch, ap):
    return {f'coco/bbox_mAP{suffix}': ap for suffix in ('', '_50', '_75')} | {'step': epoch}


def log(run, stamp, records, tail=''):
    path = run / stamp / 'vis_data' / 'scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text('\n'.join(map(json.dumps, records)) + '\n' + tail)


@pytest.fixture
def run(tmp_path):
    """Killed in its third epoch while it wrote a line; resumed from its second one."""
    first = [step(10, 8.0), measured(1, 0.1), step(20, 6.0), measured(2, 0.2), step(30, 5.0)]
    log(tmp_path, '20260101_000000', first, tail='{"loss": 4.9, "st')
    log(tmp_path, '20260102_000000', [step(30, 5.5), measured(3, 0.3), step(40, 4.0)])
    log(tmp_path / 'elsewhere' / 'deeper', '20260103_000000', [step(50, 1.0)])
    return tmp_path


def test_the_later_record_of_a_step_counts(run):
    records = read_scalars(run)
    assert [(r['step'], r['loss']) for r in records if 'loss' in r] == [
        (10, 8.0), (20, 6.0), (30, 5.5), (40, 4.0)
    ]  # fmt: skip
    tested = [(r['step'], r['coco/bbox_mAP']) for r in records if 'loss' not in r]
    assert tested == [(1, 0.1), (2, 0.2), (3, 0.3)]
    assert [r['iteration'] for r in records if 'loss' not in r] == [10, 20, 30]


@pytest.mark.parametrize('by_epoch', [True, False])
def test_validations_of_a_run_that_counts_iterations(tmp_path, monkeypatch, by_epoch):
    """LoggerHook gives them all step 0, or, with log_metric_by_epoch=False, their iteration."""
    records = []
    for iteration in (50, 100, 150):
        records.append(step(iteration, 2.0))
        if iteration > 50:
            at = 0 if by_epoch else iteration + 20
            records.append(measured(at, iteration / 1000))
    log(tmp_path, '20260101_000000', records)
    expected = {100: 0.1, 150: 0.15} if by_epoch else {120: 0.1, 170: 0.15}
    assert logged_metric(tmp_path, 'AP') == expected
    drawn = []
    monkeypatch.setattr('rankdet.analysis.curves._save', lambda figure, out: drawn.append(figure))
    plot_training(tmp_path, tmp_path / 'plot.png')
    _, right = drawn[0].axes
    assert right.get_xlabel() == 'iteration'
    assert right.lines[0].get_xdata().tolist() == list(expected)
    assert right.lines[0].get_ydata().tolist() == list(expected.values())


@pytest.fixture(scope='module')
def validated(digits, tmp_path_factory):  # noqa: F811
    """Two epochs of three iterations, validated after each; every second iteration is logged."""
    cfg = tiny.load(
        digits,
        tmp_path_factory.mktemp('validated') / 'run',
        train_cfg__val_interval=1,
        default_hooks__logger__interval=2,
    )
    return tiny.train(cfg)


@pytest.mark.parametrize(
    'known, iterations', [('iter', [3, 6]), ('text', [3, 6]), ('neither', [2, 5])]
)
def test_where_an_epoch_ends_between_two_logs(validated, tmp_path, known, iterations):
    run = shutil.copytree(validated, tmp_path / 'run')
    (path,) = run.glob('*/vis_data/scalars.json')
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert [r['step'] for r in records if 'loss' in r] == [2, 5]
    if known != 'iter':  # as MMEngine alone writes it
        for record in records:
            if 'loss' not in record:
                record.pop('iter')
        path.write_text('\n'.join(map(json.dumps, records)) + '\n')
    if known == 'neither':
        for text in run.glob('*/*.log'):
            text.unlink()
    found = [record for record in read_scalars(run) if 'loss' not in record]
    assert [record['iteration'] for record in found] == iterations
    assert list(logged_metric(run, 'AP')) == iterations


def test_a_line_that_is_no_record(tmp_path):
    log(tmp_path, '20260101_000000', [step(10, 8.0)], tail='17\n')
    with pytest.raises(UserError, match=r'scalars\.json, line 2: a record is .*, got 17; mend'):
        read_scalars(tmp_path)
    log(tmp_path / 'other', '20260101_000000', [step('ten', 8.0)])
    with pytest.raises(UserError, match=r"line 1: step must be a number, got 'ten'"):
        read_scalars(tmp_path / 'other')


def test_time_in_training_is_counted_once(run):
    assert training_seconds(run) == 40 * 2.0


def test_nothing_logged(tmp_path):
    assert read_scalars(tmp_path) == [] and training_seconds(tmp_path) == 0
    with pytest.raises(ValueError, match='holds no training log'):
        plot_training(tmp_path, tmp_path / 'plot.png')
    assert not (tmp_path / 'plot.png').exists()


@pytest.mark.parametrize('tested', [True, False])
def test_the_plot(run, tmp_path, tested):  # one panel, or two
    if not tested:
        log(tmp_path / 'other', '20260101_000000', [step(1, 2.0), step(2, 1.0)])
        run = tmp_path / 'other'
    out = plot_training(run, tmp_path / 'new' / 'plot.png', 'a title')
    image = cv2.imread(str(out))
    assert image.shape[1] > (2 if tested else 1) * image.shape[0] > 300
    colors = {tuple(color) for color in np.unique(image.reshape(-1, 3), axis=0).tolist()}
    assert (178, 114, 0) in colors  # the first line's blue, as BGR


def test_either_metric_is_drawn(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr('rankdet.analysis.curves._save', lambda figure, out: drawn.append(figure))
    for number, names in enumerate([('coco/bbox_mAP', 'coco/bbox_mAP_50'), ('det/AP', 'det/AP50')]):
        record = dict(zip(names, (0.25, 0.5))) | {'det/AP_S': 0.9, 'det/upper/AP': 0.9, 'step': 1}
        log(tmp_path / str(number), '20260101_000000', [step(1, 2.0), record])
        plot_training(tmp_path / str(number), tmp_path / 'plot.png')
        _, right = drawn[-1].axes
        values = {line.get_label(): line.get_ydata()[0] for line in right.lines}
        assert (values['AP'], values['AP50']) == (0.25, 0.5) and np.isnan(values['AP75'])
        assert right.get_xlim() == (0, 1)
