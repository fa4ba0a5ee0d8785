"""The table of what each loss learns: the search, the runs and what is reported."""

import json
import math
from pathlib import Path

import pytest

from rankdet.analysis import learning
from rankdet.analysis.learning import Run, best_rate, learn, learning_table, run_config, train_one
from rankdet.datasets.digits import make_digits

ROOT = Path(__file__).parents[2]
TINY = ROOT / 'tests/engine/tiny_config.py'
RETINA = ROOT / 'configs/learning/retinanet_r18_fpn_ap-loss_1xb8-1e_digits-128.py'


@pytest.fixture(scope='module')
def digits(tmp_path_factory) -> tuple[Path, Path]:
    """Six scenes to train on, two to report on; four to search on."""
    root = tmp_path_factory.mktemp('digits')
    data = make_digits(root / 'digits', num_train=6, num_val=2, size=96)
    return data, make_digits(root / 'search', num_train=4, num_val=1, size=96, seed=1)


@pytest.fixture(autouse=True)
def own_environment(monkeypatch):
    monkeypatch.setenv('DIGITS', 'unset')  # what a run sets is taken back after the test


def row(config='a', lr=0.1, seed=0, search=True, ap=0.5, **kw) -> dict:
    return dict(config=config, lr=lr, seed=seed, search=search, AP=ap, processor_seconds=1.0) | kw


def test_a_run_of_the_table_sees_all_scenes_and_is_measured_on_the_reported_ones(digits, tmp_path):
    run = Run(RETINA.stem, 0.007, 2, search=False)
    cfg = run_config(run, RETINA, tmp_path, *digits)
    assert cfg.optim_wrapper.optimizer.lr == 0.007 and cfg.randomness.seed == 2
    assert 'indices' not in cfg.train_dataloader.dataset.dataset
    assert Path(cfg.val_evaluator.ann_file) == digits[0] / 'annotations/instances_val.json'
    assert Path(cfg.val_dataloader.dataset.data_root) == digits[0]


def test_the_search_sees_half_the_scenes_and_none_that_is_reported(digits, tmp_path):
    cfg = run_config(Run(RETINA.stem, 0.007, 0, search=True), RETINA, tmp_path, *digits)
    assert cfg.train_dataloader.dataset.dataset.indices == 3
    measured = cfg.val_dataloader.dataset
    file = Path(measured.data_root) / measured.ann_file
    assert file == digits[1] / 'annotations/instances_train.json'
    assert Path(cfg.val_evaluator.ann_file) == file and measured.data_prefix.img == 'train/'
    names = {image['file_name'] for image in json.loads(file.read_text())['images']}
    assert len(names) == 4 and all((digits[1] / 'train' / name).exists() for name in names)


def test_a_training_gives_all_numbers_and_what_they_came_from(digits, tmp_path):
    found = train_one(Run('tiny_config', 0.002, 1, False), TINY, tmp_path / 'run', *digits)
    assert 'failed' not in found, (tmp_path / 'run/output.txt').read_text()
    assert found['iterations'] == 6  # two epochs of six scenes, two at a time
    assert all(0 <= found[name] <= 1 for name in learning.COLUMNS)
    assert found['torch'] and found['device'] and found['processor_seconds'] > 0
    assert (tmp_path / 'run/output.txt').stat().st_size


def test_a_training_that_fails_is_a_row_too(digits, tmp_path, capfd):
    broken = tmp_path / 'broken.py'
    broken.write_text(f"_base_ = '{TINY}'\nmodel = dict(backbone=dict(depth=19))\n")
    found = train_one(Run('broken', 0.002, 0, False), broken, tmp_path / 'run', *digits)
    assert found['failed'] and math.isnan(found['AP'])
    assert 'depth' in (tmp_path / 'run/output.txt').read_text()
    assert not capfd.readouterr().out


def test_the_best_rate_is_that_of_the_highest_ap_of_the_search():
    rows = [row(lr=0.1, ap=0.3), row(lr=0.2, ap=0.4), row(lr=0.4, ap=math.nan)]
    others = [row(lr=0.9, ap=0.9, search=False), row('b', lr=0.8, ap=0.8)]
    assert best_rate(rows + others, 'a') == 0.2


def searches(
    monkeypatch, tmp_path, ap_of_rate=lambda lr: lr, rates=(1.0, 2.0), config='a.py', **options
) -> list[Run]:
    """Learn without training: AP is a function of the rate."""

    class Pool:
        def __init__(self, *args) -> None: ...
        def __enter__(self):
            return self

        def __exit__(self, *args) -> None: ...
        def submit(self, function, run, *args):
            from concurrent.futures import Future

            future = Future()
            future.set_result(row(run.config, run.lr, run.seed, run.search, ap_of_rate(run.lr)))
            trained.append(run)
            return future

    trained = []
    monkeypatch.setattr(learning, 'ProcessPoolExecutor', Pool)
    monkeypatch.setattr(learning, 'make_digits', lambda *args, **kwargs: None)
    lines = []
    options |= dict(rates=rates, report=lines.append)
    learn([Path(config)], tmp_path / 'w', tmp_path / 'd', **options)
    assert len(lines) == len(trained)
    return trained


def test_the_search_goes_on_beyond_an_edge(monkeypatch, tmp_path):
    trained = searches(monkeypatch, tmp_path, lambda lr: lr)
    assert [run.lr for run in trained if run.search] == pytest.approx([1, 2, 2 * 10**0.5])
    assert [run.lr for run in trained if not run.search] == pytest.approx([2 * 10**0.5] * 3)
    assert [run.seed for run in trained if not run.search] == [0, 1, 2]


def test_the_search_ends_at_a_rate_between_others(monkeypatch, tmp_path):
    trained = searches(monkeypatch, tmp_path, lambda lr: -((lr - 2) ** 2), rates=(1.0, 2.0, 3.0))
    assert [run.lr for run in trained] == [1, 2, 3, 2, 2, 2]


def test_without_a_search_the_rate_is_the_one_of_the_config(monkeypatch, tmp_path):
    config = tmp_path / 'a.py'
    config.write_text('optim_wrapper = dict(optimizer=dict(lr=0.7))')
    trained = searches(monkeypatch, tmp_path, config=config, search=False, seeds=2)
    assert [(run.search, run.lr, run.seed) for run in trained] == [(False, 0.7, 0), (False, 0.7, 1)]


def test_what_is_done_is_not_done_again(monkeypatch, tmp_path):
    assert len(searches(monkeypatch, tmp_path, lambda lr: lr)) == 6
    assert searches(monkeypatch, tmp_path, lambda lr: lr) == []


def test_the_table_has_mean_and_spread_of_the_runs_alone():
    rest = dict(AP50=0.6, AP75=0.4, AP90=0.1, oLRP=0.7)
    name = 'retinanet_r18_fpn_ap-loss_1xb8-1e_digits-128'
    runs = [row(name, seed=s, search=False, ap=ap, **rest) for s, ap in enumerate((0.1, 0.2, 0.3))]
    table = learning_table([row(name, ap=0.9), *runs], {name: 0.25})
    assert table.splitlines()[2] == (
        '| retinanet | ap-loss | 0.1 | 3 | 0.200 ± 0.100 | 0.600 ± 0.000 | 0.400 ± 0.000 | '
        '0.100 ± 0.000 | 0.700 ± 0.000 | 0.250 |'
    )
