"""The benchmark of losses: its loops are Algorithm 1, its rows say what they were measured with."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rankdet import compat
from tests.reference import error_driven
from tools.benchmarks import benchmark_losses, loops


@pytest.mark.parametrize('regime', benchmark_losses.REGIMES)
def test_the_float32_loop_is_algorithm_1(regime):
    batch = benchmark_losses.make_batch(3000, 300, regime, seed=0, device='cpu')
    scores, targets = batch.logits.detach(), batch.targets.clone()
    targets[1000:1100][targets[1000:1100] == 0] = -1  # ignored
    value, gradient = error_driven.ap_loss(scores, targets, error_driven.linear_step(1))
    found, found_gradient = loops.float32(scores, targets)
    assert found.item() == pytest.approx(value, rel=1e-5)
    assert found_gradient.dtype == torch.float32
    torch.testing.assert_close(
        found_gradient.double(), gradient, rtol=0, atol=1e-5 * gradient.abs().max().item()
    )


def test_the_float32_loop_leaves_out_trivial_negatives():
    # What was compared with the positives would spoil all of their sums.
    scores = torch.tensor([2.0, torch.nan, 1.5])
    value, gradient = loops.float32(scores, torch.tensor([1, 0, 0]))
    assert gradient[1] == 0 and 0 < gradient[2] == value < 1
    _, gradient = loops.float32(scores, torch.zeros(3))
    assert not gradient.any()


@pytest.mark.parametrize('classes', [0, 80])
def test_rows(classes, monkeypatch, tmp_path):
    out = tmp_path / 'losses.jsonl'
    command = (
        f'benchmark_losses.py --sizes 8000 --positives 9 --regimes trained --classes {classes} '
        f'--losses ap --loop --repeats 2 --out {out}'
    )
    monkeypatch.setattr(sys, 'argv', command.split())
    benchmark_losses.main()
    rows = {row['loss']: row for row in map(json.loads, out.read_text().splitlines())}
    assert list(rows) == ['focal', 'copy', 'ap', 'loop', 'loop_float32']
    for row in rows.values():
        assert row['best_ms'] > 0 and row['repeats'] == 2 and row['classes'] == (classes or None)
        assert row['command'] == f'python {command}' and 'mmcv_compiled' in row


def test_without_positives(monkeypatch, tmp_path):
    out = tmp_path / 'losses.jsonl'
    command = f'b --sizes 800 --positives 0 --regimes start --losses ap --repeats 1 --out {out}'
    monkeypatch.setattr(sys, 'argv', command.split())
    benchmark_losses.main()
    assert [json.loads(line)['nontrivial'] for line in out.read_text().splitlines()] == [0, 0, 0]


def test_more_positives_than_rows_are_refused(monkeypatch, capsys):
    monkeypatch.setattr(
        sys, 'argv', ['b', '--sizes', '8000', '--classes', '80', '--positives', '9', '101']
    )
    with pytest.raises(SystemExit):
        benchmark_losses.main()
    assert '--positives 101: the smallest size has 100 rows' in capsys.readouterr().err


def test_a_stand_in_is_no_compiled_op():
    pytest.importorskip('mmcv')
    compat.install()  # serves mmcv._ext where mmcv has none
    folder = Path(importlib.util.find_spec('mmcv').origin).parent
    assert benchmark_losses.has_compiled_mmcv() == any(folder.glob('_ext*'))


def test_changed_code_is_said_of_the_commit(monkeypatch, tmp_path):
    def git(*arguments):
        person = ('-c', 'user.name=a', '-c', 'user.email=a@b.example')
        subprocess.run(['git', *person, *arguments], cwd=tmp_path, check=True, capture_output=True)

    monkeypatch.setattr(benchmark_losses, 'ROOT', tmp_path)
    (tmp_path / 'code.py').write_text('1')
    (tmp_path / 'rows.jsonl').write_text('')
    git('init')
    git('add', '.')
    git('commit', '-m', 'x')
    clean = benchmark_losses.describe_run('cpu')['commit']
    (tmp_path / 'rows.jsonl').write_text('{}')  # a benchmark that ran before
    assert benchmark_losses.describe_run('cpu')['commit'] == clean and '+' not in clean
    (tmp_path / 'code.py').write_text('2')
    assert benchmark_losses.describe_run('cpu')['commit'] == f'{clean}+changes'
