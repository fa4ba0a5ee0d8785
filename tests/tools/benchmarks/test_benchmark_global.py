"""The bytes that ranking together moves are counted exactly, and are those on paper."""

import json
import math
import sys

import pytest
import torch

from tools.benchmarks import benchmark_global, global_model
from tools.benchmarks.benchmark_global import Traffic, formula


def test_on_paper():
    # A length, then 30 float64; 20 + 30 sums.
    assert formula('ap', [20, 30]) == Traffic(3, 8 + 8 * 30, 8 * 50)
    assert formula('auc', [20, 30]) == Traffic(4, 8 + 8 * 30, 8 * 50 + 8)
    assert formula('alrp', [20, 30]) == Traffic(5, 2 * (8 + 8 * 30), 8 * 50)
    # The kernels gather float32 and add up float64.
    assert formula('ap', [20, 30], 4) == Traffic(3, 8 + 4 * 30, 8 * 50)
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


TIMES = ('batch_ms', 'global_ms', 'collective_ms', 'latency_ms', 'bytes_a_second')


def test_times_are_there_or_the_reason_why_not(rows):
    for row in rows:
        times = [row[key] for key in TIMES]
        if row['reason']:
            assert times == [None] * 5 and 'cores' in row['reason']
        else:
            assert all(time > 0 for time in times)
        assert {'device', 'torch', 'command', 'commit', 'load'} <= row.keys()


def test_a_gpu_for_each_process_or_no_times(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    options = dict(device='cuda', size=300, positives=[20], losses=['ap', 'alrp'])
    rows = benchmark_global.run(4, options)
    assert [row['loss'] for row in rows] == ['ap', 'alrp']
    for row in rows:
        assert row['reason'] == '4 processes on 2 GPUs' and row['number_bytes'] == 4
        assert row['global_ms'] is row['collectives'] is row['as_formula'] is None
    assert benchmark_global.too_many(2, 'cuda') is None


def test_one_process_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['benchmark_global', '--processes', '1'])
    with pytest.raises(SystemExit):
        benchmark_global.main()
    assert '--processes 1: 2 or more rank together' in capsys.readouterr().err


def test_the_model_adds_up():
    # 7 ms without positives, half a ms for each P log2 P; what is off by as much cancels out.
    exact = [(8, 7 + 12.0), (16, 7 + 32.0), (64, 7 + 192.0)]
    work = global_model.work_on_positives(exact)
    assert [work(8), work(128)] == pytest.approx([12, 448])
    noisy = global_model.work_on_positives([(8, 18.0), (8, 20.0), *exact[1:], (64, 198), (64, 200)])
    assert noisy(64) == pytest.approx(192)
    assert global_model.work_on_positives([(8, 1.0)]) is None
    options = dict(latency_ms=0.5, bytes_a_second=1e3, number=8)
    cost = global_model.extra('ap', [32, 32, 32, 32], **options, work=work)
    # 3 collectives of 2 steps; 3 x (8 + 8 x 32) bytes gathered and 2 x 3/4 x 8 x 128 added up.
    assert cost.latency == 3 * 2 * 0.5
    assert cost.transfer == pytest.approx(3 * (8 + 8 * 32) + 1.5 * 8 * 128)
    assert cost.work == pytest.approx((128 * math.log2(128) - 32 * 5) / 2)
    assert cost.together == pytest.approx(sum(cost))
    # Round a ring: 2 gathers of 3 steps, a sum of 6.
    ring = global_model.extra('ap', [32, 32, 32, 32], **options, work=work, ring=True)
    assert ring.latency == (2 * 3 + 6) * 0.5 and ring[1:] == cost[1:]
    assert global_model.extra('alrp', [8] * 3, **options, work=work, ring=True).latency == 6
    blank = global_model.extra('ap', [32, 32], **options, work=None)
    assert blank.work is None and blank.together is None
