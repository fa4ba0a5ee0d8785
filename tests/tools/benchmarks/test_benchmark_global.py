"""The bytes that ranking together moves are counted exactly, and are those on paper."""

import json
import sys

import pytest

from tools.benchmarks import benchmark_global
from tools.benchmarks.benchmark_global import Traffic, formula


def test_on_paper():
    # A length, then 30 float64; 20 + 30 sums.
    assert formula('ap', [20, 30]) == Traffic(3, 8 + 8 * 30, 8 * 50)
    assert formula('auc', [20, 30]) == Traffic(4, 8 + 8 * 30, 8 * 50 + 8)
    assert formula('alrp', [20, 30]) == Traffic(5, 2 * (8 + 8 * 30), 8 * 50)
    # Round a ring of two: what is gathered once, and what is added up once.
    assert Traffic(3, 248, 400).sent(2) == 648
    assert Traffic(3, 100, 400).sent(4) == 3 * 100 + 2 * 3 / 4 * 400


@pytest.fixture(scope='module')
def rows(tmp_path_factory):
    out = tmp_path_factory.mktemp('global') / 'global.jsonl'
    command = 'benchmark_global --processes 3 --size 300 --positives 20 --repeats 1 --out'
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, 'argv', [*command.split(), str(out)])
        benchmark_global.main()
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_counted_is_on_paper(rows):
    assert [row['loss'] for row in rows] == ['ap', 'auc', 'alrp']
    gathered, reduced = 8 + 8 * 40, 8 * (20 + 30 + 40)
    for row, counted in zip(
        rows, [(3, gathered, reduced), (4, gathered, reduced + 8), (5, 2 * gathered, reduced)]
    ):
        assert (row['collectives'], row['gathered_bytes'], row['reduced_bytes']) == counted
        assert row['as_formula']


def test_times_are_there_or_the_reason_why_not(rows):
    for row in rows:
        times = [row[key] for key in ('batch_ms', 'global_ms', 'collective_ms', 'paper_ms')]
        if row['reason']:
            assert times == [None] * 4 and 'cores' in row['reason']
        else:
            assert all(time > 0 for time in times)
        assert {'device', 'torch', 'command', 'commit', 'load'} <= row.keys()
