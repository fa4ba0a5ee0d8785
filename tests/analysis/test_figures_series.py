"""Figures drawn from logs and formulas: their data against written-out values."""

import doctest
import importlib
import json
import math
from functools import partial

import cv2
import numpy as np
import pytest

import rankdet.plugin  # noqa: F401
from rankdet.analysis import figures
from rankdet.analysis.figures.drift import drifted_weights
from rankdet.analysis.figures.series import mean_series, window_means
from rankdet.analysis.figures.style import panels, plain_log_axis
from rankdet.engine.errors import UserError


def write_lines(path, records, tail=''):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('\n'.join(map(json.dumps, records)) + '\n' + tail)


def a_log(folder, records, stamp='20260101_000000', tail=''):
    write_lines(folder / stamp / 'vis_data/scalars.json', records, tail)


def some_records(folder, records, stamp='20260101_000000', tail=''):
    write_lines(folder / stamp / 'vis_data/losses.jsonl', records, tail)


def a_record(step, positives, negatives, loss, seconds=0.25):
    return dict(
        step=step, positives=positives, negatives=negatives, loss_cls=loss, ap_loss=loss,
        loss_seconds=seconds, iteration_seconds=4 * seconds,
    )  # fmt: skip


def balanced(step, cls, loc, weight):
    return dict(loss=1.0, step=step, aLRP=cls + loc, aLRP_cls=cls, aLRP_loc=loc, sb_weight=weight)


@pytest.mark.parametrize('name', ['convergence', 'drift', 'labels', 'series', 'style'])
def test_examples(name):
    module = importlib.import_module(f'rankdet.analysis.figures.{name}')
    found = doctest.testmod(module)
    assert found.attempted and not found.failed


# ---------------------------------------------------------------- curves over runs


def test_the_mean_over_runs():
    found = mean_series([{1: 1.0, 2: 5.0, 3: 7.0}, {1: 3.0, 3: math.nan, 4: 0.0}])
    assert found['steps'] == [1, 3] and found['mean'] == [2.0, 7.0]
    assert found['low'] == [1.0, 7.0] and found['high'] == [3.0, 7.0]
    empty = mean_series([{1: math.inf}])
    assert math.isnan(empty['mean'][0]) and math.isnan(empty['low'][0])
    assert window_means({1: 1.0, 3: math.nan, 5: 3.0, 7: 9.0}, 2) == {3: 1.0, 7: 6.0}


def test_gradients_of_two_seeds_and_another_loss(tmp_path):
    a = [a_record(1, 1.0, 4.0, 0.5), a_record(2, 2.0, 2.0, 0.25)]
    b = [a_record(1, 1.0, 8.0, 1.5), a_record(2, 0.0, 2.0, 0.75)]  # no gradient at positives
    some_records(tmp_path / 'a', a)
    some_records(tmp_path / 'b', b[:1], tail='{"step": 2, "po')  # a kill cut the line short
    some_records(tmp_path / 'b', b[1:], stamp='20260102_000000')
    some_records(tmp_path / 'c', a)
    paths = [tmp_path / name for name in 'abc']
    data = figures.gradients(figures.open_runs(paths, labels=['CE', 'CE', 'AP']))
    ce, ap = data['curves']
    assert (ce['label'], ce['runs'], ap['label'], ap['runs']) == ('CE', 2, 'AP', 1)
    assert ce['ratio']['steps'] == [1, 2] and ce['ratio']['mean'] == [6.0, 1.0]
    assert ce['ratio']['low'] == [4.0, 1.0] and ce['ratio']['high'] == [8.0, 1.0]
    assert ce['loss']['mean'] == [1.0, 0.5] and ap['loss']['mean'] == [0.5, 0.25]
    figures.draw_gradients(data)


def test_labels_of_any_characters_stand_in_legend_and_titles(tmp_path):
    names = ['_ap', r'$\foo$', 'a $1 b $2']
    for folder in 'abc':
        some_records(tmp_path / folder, [a_record(i, 1.0, 1.0, 1.0) for i in range(1, 5)])
        a_log(tmp_path / folder, [balanced(1, 1.0, 2.0, 3.0), dict(balanced(2, 1.0, 2.0, 3.0))])
    runs = figures.open_runs([tmp_path / folder for folder in 'abc'], labels=names)
    drawn = figures.draw_loss_time(figures.loss_time(runs, window=2))
    figures.save(drawn, dict(figure='loss-time'), tmp_path / 'drawn')
    (legend,) = filter(None, (ax.get_legend() for ax in drawn.axes))
    assert [text.get_text().strip('\u200b') for text in legend.get_texts()] == names
    for function in (figures.gradients, figures.loss_time):
        assert [curve['label'] for curve in function(runs)['curves']] == names
    (legend,) = filter(None, (a.get_legend() for a in figures.draw_gradients(
        figures.gradients(runs)).axes))  # fmt: skip
    assert len(legend.get_texts()) == 3
    titled = figures.draw_balance(figures.balance(runs))
    figures.save(titled, dict(figure='balance'), tmp_path / 'titled')
    assert [ax.get_title() for ax in titled.axes if ax.get_title()] == names


def test_loss_time_leaves_out_the_first_iteration(tmp_path):
    some_records(tmp_path, [a_record(i, 1.0, 1.0, 1.0, seconds=s) for i, s in
                            enumerate([100.0, 0.1, 0.3, 0.5, 0.7], 1)])  # fmt: skip
    data = figures.loss_time(figures.open_runs([tmp_path], labels=['AP']), window=2)
    (curve,) = data['curves']
    assert curve['loss_seconds']['steps'] == [3, 5]
    assert curve['loss_seconds']['mean'] == pytest.approx([0.2, 0.6])
    assert curve['iteration_seconds']['mean'] == pytest.approx([0.8, 2.4])
    assert 'loss_bytes' not in curve  # it was not recorded
    assert len(figures.draw_loss_time(data).axes) == 2


def test_balance_of_one_and_of_two_heads(tmp_path):
    a_log(tmp_path / 'a', [balanced(10, 0.9, 0.1, 50.0), balanced(20, 0.5, 0.2, 10.0)])
    record = balanced(10, 0.9, 0.1, 50.0)
    both = {f'{head}.{key}': record[key] for head in ('rpn_head', 'bbox_head') for key in record}
    nothing = {key: value for key, value in both.items() if 'sb_weight' in key}  # no positive
    steps = [both | dict(loss=1.0, step=10), nothing | dict(loss=1.0, step=20)]
    a_log(tmp_path / 'b', steps)
    runs = figures.open_runs([tmp_path / 'a', tmp_path / 'b'], labels=['one', 'two'])
    data = figures.balance(runs)
    one, rpn, box = data['curves']
    assert one['steps'] == [10, 20] and one['aLRP'] == pytest.approx([1.0, 0.7])
    assert one['aLRP_cls'] == [0.9, 0.5] and one['aLRP_loc'] == [0.1, 0.2]
    assert one['sb_weight'] == [50.0, 10.0] and one['balanced_loc'] == pytest.approx([5.0, 2.0])
    assert (rpn['label'], box['label']) == ('two, rpn_head', 'two, bbox_head')
    assert rpn['steps'] == [10] and len(rpn['sb_weight']) == 1
    assert len(figures.draw_balance(data).axes) == 6


def validated(key, steps, values):
    records = []
    for epoch, (step, value) in enumerate(zip(steps, values), 1):
        records += [dict(loss=1.0, step=step - 1), dict(loss=1.0, step=step)]
        bound = key.replace('/', '/upper/')
        records.append({key: value, bound: 0.99, 'step': epoch})
    return records


def test_ap_from_the_logs(tmp_path, monkeypatch):
    """Either metric's name; a resumed run counts once; validations stand at iterations."""
    a_log(tmp_path / 'a', validated('coco/bbox_mAP', [100, 200], [0.1, 0.3])[:-1])
    a_log(tmp_path / 'a', validated('coco/bbox_mAP', [200], [0.5]), stamp='20260102_000000')
    a_log(tmp_path / 'b', validated('det/AP', [100, 200, 300], [0.3, 0.7, 0.9]))
    module = importlib.import_module('rankdet.analysis.figures.ap_curves')
    monkeypatch.setattr(module, 'predict', None)  # nothing is tested anew
    runs = figures.open_runs([tmp_path / 'a', tmp_path / 'b'], labels=['x', 'x'])
    data = figures.ap_curves(runs)
    (curve,) = data['curves']
    assert curve['steps'] == [100, 200] and curve['mean'] == pytest.approx([0.2, 0.6])
    assert curve['low'] == [0.1, 0.5] and curve['high'] == [0.3, 0.7]
    figures.draw_ap_curves(data)


# ---------------------------------------------------------------- formulas


@pytest.mark.parametrize('positives', [False, True])
def test_a_drifted_normal_is_a_shifted_normal(positives):
    """Tilting N(m, s^2) by exp(+-p / lambda) gives N(m +- s^2 / lambda, s^2)."""
    data = figures.drift(
        spreads=[0.1], lambdas=[0.2, 0.1], samples=200_000, bins=40, positives=positives
    )
    (panel,) = data['panels']
    x, width = np.array(panel['scores']), panel['scores'][1] - panel['scores'][0]
    for curve in panel['curves']:
        mean = 0.5 + (-1 if positives else 1) * 0.1**2 / curve['lam']
        assert curve['mean'] == pytest.approx(mean, abs=2e-3)
        expected = np.exp(-((x - mean) ** 2) / (2 * 0.1**2)) / (0.1 * math.sqrt(2 * math.pi))
        near = np.abs(x - mean) < 0.2
        np.testing.assert_allclose(np.array(curve['density'])[near], expected[near], atol=0.25)
        assert sum(curve['density']) * width == pytest.approx(1)
    figures.draw_drift(data)


def test_drifted_weights():
    weights = drifted_weights(np.array([0.1, 0.7]), 0.2)
    assert weights[1] / weights[0] == pytest.approx(math.exp(0.6 / 0.2))
    assert drifted_weights(np.array([0.0, 1e4]), 0.01).tolist() == [0.0, 1.0]  # no overflow
    with pytest.raises(ValueError, match='lambda must be > 0, got 0'):
        drifted_weights(np.ones(2), 0)


def test_surrogates_are_equations_7_and_8():
    data = figures.surrogates(smoothness=[6.0, 2.0], rho=[0.5], points=21)
    curves = {curve['name']: curve['values'] for curve in data['curves']}
    for i, z in enumerate(data['z']):
        assert curves['hinge'][i] == pytest.approx(max(z, 0), abs=1e-9)
        quadratic = z if z >= 0.5 else (z + 0.5) ** 2 / 2 if z > -0.5 else 0
        assert curves['quadratic, ρ = 0.5'][i] == pytest.approx(quadratic, abs=1e-9)
        for smooth in (6.0, 2.0):
            logistic = math.log1p(math.exp(smooth * z)) / smooth
            assert curves[f'logistic, L = {smooth:g}'][i] == pytest.approx(logistic, abs=1e-9)
    figures.draw_surrogates(data)


# ---------------------------------------------------------------- what is left behind


@pytest.mark.parametrize(
    ('values', 'decades'), [([1.0, 1.0], 1.0), ([0.9995, 1.0005], 1.0), ([0.02, 500.0], 4.48)]
)
def test_a_log_axis_can_be_read(values, decades):
    """Ratios that are all one too: a decade at least, with ticks that are plain numbers."""
    figure, axes = panels()
    ax = axes[0, 0]
    ax.plot(values)
    plain_log_axis(ax, [*values, 0.0, math.nan])
    low, high = ax.get_ylim()
    assert low < min(values) and max(values) < high
    assert math.log10(high / low) == pytest.approx(decades, abs=0.1)
    figure.canvas.draw()
    texts = [t.get_text() for t in ax.get_yticklabels() if low <= t.get_position()[1] <= high]
    assert len(texts) >= 3 and len(set(texts)) == len(texts) and '1' in texts
    assert all(float(text) and 'e' not in text for text in texts)
    assert not any(t.get_text() for t in ax.get_yticklabels(minor=True))


def test_gradients_of_losses_that_all_rank(tmp_path):
    some_records(tmp_path, [a_record(i, 2.0, 2.0, 0.5) for i in (1, 2, 3)])
    figure = figures.draw_gradients(figures.gradients(figures.open_runs([tmp_path], labels=['AP'])))
    for ax in figure.axes:
        low, high = ax.get_ylim()
        assert high / low == pytest.approx(10)


def test_long_labels_leave_room(tmp_path):
    label = 'AP (run_retinanet_r18_fpn_ap-loss_1xb8-1e_digits-128_lr0.01_seed0)'
    curve = dict(label=label, loss_seconds=[1e-3, 2e-3], loss_bytes=[1e6, 2e6])
    figure = figures.draw_loss_cost(dict(batch_sizes=[1, 2], curves=[curve]))
    figures.save(figure, {}, tmp_path / 'f')
    whole = figure.bbox.width
    assert all(ax.get_window_extent().width > 0.3 * whole for ax in figure.axes)
    (text,) = figure.axes[0].get_legend().get_texts()
    assert text.get_text().replace('\n', '').replace(' ', '') == label.replace(' ', '')
    assert max(map(len, text.get_text().splitlines())) <= 34


@pytest.mark.parametrize('name', ['drift', 'gradients', 'convergence', 'imbalance'])
def test_what_was_saved_can_be_drawn_again(tmp_path, name):
    curve = dict(label='AP', runs=2, steps=[1, 2], mean=[0.9, math.nan], low=[0.8, math.nan],
                 high=[1.0, math.nan])  # fmt: skip
    some_records(tmp_path, [a_record(1, 1.0, 4.0, 0.5), a_record(2, 0.0, 2.0, 0.75)])
    data = {
        'drift': lambda: figures.drift(samples=1000),
        'gradients': lambda: figures.gradients(figures.open_runs([tmp_path], labels=['CE'])),
        'convergence': lambda: dict(figure='convergence', window=1, curves=[curve]),
        'imbalance': lambda: dict(figure='imbalance', curves=[
            dict(label='AP', samples=[5, 20], final=[0.5, 0.75], from_snapshot=[False, True])]),
    }[name]()  # fmt: skip
    draw = getattr(figures, f'draw_{name}')
    first = draw(data)
    png, _, saved = figures.save(first, data, tmp_path / 'a')
    second = draw(figures.load(saved))
    again, _, _ = figures.save(second, data, tmp_path / 'b')
    # The numbers in the file have six digits, which moves a line by less than a pixel.
    change = cv2.imread(str(png)).astype(float) - cv2.imread(str(again))
    assert np.abs(change).mean() < 0.1
    legends = [
        [text.get_text() for ax in figure.axes if ax.get_legend() for text in ax.get_legend().texts]
        for figure in (first, second)
    ]
    assert legends[0] == legends[1] and legends[0]
    (tmp_path / 'other.json').write_text('[1]')
    with pytest.raises(UserError, match=r'other\.json is no data of a figure'):
        figures.load(tmp_path / 'other.json')


def test_png_svg_and_data(tmp_path):
    data = figures.surrogates(points=3)
    data['more'] = dict(nan=math.nan, array=np.array([1.0, np.inf]), count=np.int64(3))
    for _ in range(2):
        png, svg, saved = figures.save(figures.draw_surrogates(data), data, tmp_path / 'new/f.x')
        first = svg.read_text()
    assert [p.name for p in (png, svg, saved)] == ['f.x.png', 'f.x.svg', 'f.x.json']
    assert min(cv2.imread(str(png)).shape[:2]) > 300
    assert first.startswith('<?xml') and svg.read_text() == first  # equal data, equal file
    content = json.loads(saved.read_text())
    assert content['more'] == dict(nan=None, array=[1.0, None], count=3)
    assert content['z'] == pytest.approx(list(data['z']))


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    'call, words',
    [
        (figures.balance, 'holds no log'),
        (figures.gradients, 'holds no losses.jsonl: train with the recorder'),
        (figures.loss_time, 'holds no losses.jsonl'),
        (figures.ap_curves, 'holds no checkpoint'),
    ],
)
def test_a_run_without_log(tmp_path, call, words):
    with pytest.raises(UserError, match=words) as caught:
        call(figures.open_runs([tmp_path], labels=['x']))
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    'line, words',
    [
        ('{"positives": 1, "negatives": 1, "loss_cls": 1}', 'step must be a number, got None'),
        (
            '{"step": 2, "positives": "x", "negatives": 1, "loss_cls": 1}',
            "positives must be a number, got 'x'",
        ),
        ('[2]', r'a record is a JSON object, got \[2\]'),
    ],
)
def test_a_line_of_the_recorder_that_is_no_record(tmp_path, line, words):
    some_records(tmp_path, [a_record(1, 1.0, 1.0, 1.0)], tail=line + '\n')
    with pytest.raises(UserError, match=rf'losses\.jsonl, line 2: {words}'):
        figures.gradients(figures.open_runs([tmp_path], labels=['x']))


def test_a_log_without_alrp(tmp_path):
    a_log(tmp_path, [dict(loss=1.0, step=1)])
    with pytest.raises(UserError, match='has no aLRP Loss'):
        figures.balance(figures.open_runs([tmp_path], labels=['x']))


def test_runs_that_have_no_mean(tmp_path):
    a_log(tmp_path / 'a', validated('det/AP', [10, 20], [0.1, 0.2]))
    a_log(tmp_path / 'b', validated('det/AP', [15, 25], [0.1, 0.2]))
    with pytest.raises(UserError, match='not measured at the same iterations'):
        figures.ap_curves(figures.open_runs([tmp_path / 'a', tmp_path / 'b'], labels=['x', 'x']))


@pytest.mark.parametrize(
    'call, words',
    [
        (lambda: figures.open_runs(['none']), 'run none does not exist'),
        (lambda: figures.open_runs(['.'], labels=['a', 'b']), '1 runs but 2 labels'),
        (lambda: figures.ap_curves([], metric='AP60'), "got 'AP60'"),
        (lambda: figures.drift(spreads=[-1]), 'spreads must be > 0, got -1'),
        (lambda: figures.drift(samples=0), 'samples and bins must be at least 1'),
        (lambda: figures.surrogates(points=1), 'points must be at least 2, got 1'),
        (lambda: figures.loss_time([], window=0), 'window must be at least 1, got 0'),
        (lambda: figures.loss_cost([], batch_sizes=[0]), r'must be at least 1, got \[0\]'),
        (lambda: figures.densities([], bins=0), 'bins must be at least 1, got 0'),
        (lambda: figures.scatter([], points=0), 'points must be at least 1, got 0'),
        (lambda: figures.scatter([], images=0), 'images must be at least 1, got 0'),
        (lambda: figures.densities([], images=-3), 'images must be at least 1, got -3'),
        *(
            (partial(call, [], device='gpu'), "device 'gpu' cannot be used: ")
            for call in (figures.scatter, figures.densities, figures.push, figures.loss_cost)
        ),
    ],
)
def test_bad_options(call, words):
    with pytest.raises((UserError, ValueError), match=words):
        call()


def test_labels_from_configs(tmp_path):
    for name, kind, loss in (
        ('a', 'RetinaNet', 'APLoss'), ('b', 'RetinaNet', 'APLoss'), ('c', 'RetinaNet', 'MyLoss')
    ):  # fmt: skip
        (tmp_path / name).mkdir()
        text = f'model = dict(type="{kind}", bbox_head=dict(loss_cls=dict(type="{loss}")))'
        (tmp_path / name / 'config.py').write_text(text)
    paths = [tmp_path / name for name in 'abc']
    assert [run.label for run in figures.open_runs(paths)] == ['AP', 'AP', 'My']
    text = (tmp_path / 'c/config.py').read_text().replace('RetinaNet', 'FOVEA')
    (tmp_path / 'c/config.py').write_text(text)
    labels = [run.label for run in figures.open_runs(paths)]
    assert labels == ['RetinaNet, AP', 'RetinaNet, AP', 'FOVEA, My']
    (tmp_path / 'a/other.py').write_text('')
    with pytest.raises(UserError, match='holds 2 configs'):
        figures.open_runs(paths)


LABELLED = """
model = dict(type='RetinaNet', bbox_head=dict(loss_cls=dict(type='APLoss', {loss})))
optim_wrapper = dict(optimizer=dict(type='SGD', lr={lr}))
randomness = dict(seed={seed})
work_dir = 'work_dirs/{seed}'
default_hooks = dict(logger=dict(type='LoggerHook', interval={seed}), {default})
custom_hooks = [{custom}]
train_dataloader = dict(dataset=dict(data_root={data!r}))
"""


BALANCE = "dict(type='SelfBalanceHook'{})"


@pytest.mark.parametrize(
    'changes, labels',
    [
        ([dict(seed=1)], ['AP', 'AP', 'AP']),
        ([dict(seed=1), dict(loss='delta=.1', seed=1)], ['AP, delta by default'] * 3
         + ['AP, delta=0.1']),
        ([dict(loss='delta=.1', lr=.1)], ['AP, lr=0.01, delta by default'] * 2
         + ['AP, lr=0.1, delta=0.1']),
        ([dict(data='voc')], ['AP, data_root=coco', 'AP, data_root=coco', 'AP, data_root=voc']),
        ([dict(loss='delta=.1, x=2, y=3')], ['AP, 0', 'AP, 1', 'AP, 2']),
        ([dict(custom=BALANCE.format(''))], ['AP, no SelfBalanceHook'] * 2
         + ['AP, SelfBalanceHook']),
        ([dict(custom=BALANCE.format(', interval=9, by_epoch=False, log_interval=3'))],
         ['AP, no SelfBalanceHook'] * 2 + ['AP, SelfBalanceHook']),
        ([dict(custom="dict(type='mmdet.NumClassCheckHook')", seed=1,
               default="recorder=dict(type='LossRecorder', interval=3), timer=None")],
         ['AP', 'AP', 'AP']),
        ([dict(default="param_scheduler=dict(type='ParamSchedulerHook')"),
          dict(default='param_scheduler=None')],
         ['AP, ParamSchedulerHook'] * 3 + ['AP, no ParamSchedulerHook']),
        ([dict(custom="dict(type='EMAHook', momentum=.1), dict(type='EMAHook', momentum=.2)")],
         ['AP, no EMAHook, no EMAHook 2'] * 2 + ['AP, EMAHook, EMAHook 2']),
    ],
)  # fmt: skip
def test_only_seeds_of_one_training_are_averaged(tmp_path, changes, labels):
    base = dict(loss='', lr=0.01, seed=0, data='coco', default='', custom='')
    for number, change in enumerate([dict(), dict(seed=5), *changes]):
        (tmp_path / f'{number}').mkdir()
        (tmp_path / f'{number}/config.py').write_text(LABELLED.format(**base | change))
    runs = figures.open_runs(sorted(tmp_path.iterdir()))
    assert [run.label for run in runs] == labels


def test_an_option_of_a_hook_tells_runs_apart(tmp_path):
    hooks = [BALANCE.format(options) for options in (', interval=62', '', ', interval=62')]
    for number, custom in enumerate(hooks):
        (tmp_path / f'{number}').mkdir()
        options = dict(loss='', lr=0.01, seed=number, data='coco', default='', custom=custom)
        (tmp_path / f'{number}/config.py').write_text(LABELLED.format(**options))
    every_62, every_epoch, again = figures.open_runs(sorted(tmp_path.iterdir()))
    assert every_62.label == again.label == 'AP, SelfBalanceHook.interval=62'
    assert every_epoch.label == 'AP, SelfBalanceHook.interval by default'
