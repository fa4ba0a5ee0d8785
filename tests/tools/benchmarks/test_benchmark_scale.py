"""The benchmark of growing scores and positives: its points, its rows and its exponents."""

import json
import sys

import pytest
import torch

from tools.benchmarks import benchmark_scale


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Run the command; what it printed."""
    before = torch.get_num_threads()

    def call(*arguments):
        monkeypatch.setattr(sys, 'argv', list(map(str, ['benchmark_scale', *arguments])))
        benchmark_scale.main()
        return capsys.readouterr().out

    yield call
    torch.set_num_threads(before)


def test_rows_and_plot(run, tmp_path):
    out, image = tmp_path / 'scale.jsonl', tmp_path / 'scale.png'
    run('--sizes', 1000, 4000, '--positives', 5, 50, '--at-positives', 5, '--at-size', 4000,
        '--losses', 'ap', 'dr', '--regimes', 'start', '--repeats', 1, '--out', out)  # fmt: skip
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(row['size'], row['positives']) for row in rows[::2]] == [
        (1000, 5), (4000, 5), (4000, 50),
    ]  # fmt: skip
    for row in rows:
        assert row['best_ms'] > 0 and row['reason'] is None
        assert row['command'].startswith('python -m tools.benchmarks.benchmark_scale ')
        assert {'device', 'torch', 'commit'} <= row.keys()
    run('--plot', image, '--out', out)
    assert image.stat().st_size > 1000
    with pytest.raises(SystemExit):  # no row of a GPU
        run('--plot', image, '--out', out, '--device', 'cuda')


def test_what_does_not_fit_is_a_row_without_a_time(run, tmp_path):
    out = tmp_path / 'scale.jsonl'
    run('--sizes', 10**9, '--positives', 10, '--at-size', 10**9, '--regimes', 'start', '--gib', 1,
        '--losses', 'ap', '--out', out)  # fmt: skip
    assert out.exists()
    for line in out.read_text().splitlines():
        row = json.loads(line)
        assert row['best_ms'] is None and row['repeats'] == 0
        assert row['reason'] == 'needs about 56 GiB, --gib allows 1'


def test_exponents_are_those_of_the_points():
    def row(loss, n, p, ms):
        return dict(loss=loss, size=n, positives=p, regime='start', best_ms=ms, processor_ms=ms)

    rows = [row('ap', n, 10, 3e-6 * n) for n in (10**5, 10**6, 10**7)]
    rows += [row('ap', 10**6, p, 2 * p**0.5) for p in (100, 10_000)]
    rows += [row('dr', n, 10, n**2) for n in (10**6, 10**7)] + [row('dr', 10**8, 10, None)]
    found = benchmark_scale.exponents(benchmark_scale.curves(rows, 'cpu'))
    assert found['size', 'start', 'ap'] == pytest.approx(1)
    assert found['size', 'start', 'dr'] == pytest.approx(2)
    assert ('positives', 'start', 'dr') not in found  # a single point


def test_the_slope():
    assert benchmark_scale.slope([(x, 7 * x**1.5) for x in (2, 5, 11)]) == pytest.approx(1.5)
