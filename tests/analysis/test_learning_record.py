"""docs/learning.md says what the record of its trainings says."""

import json
import re
from pathlib import Path
from statistics import fmean

import pytest

from rankdet.analysis.learning import best_rate, learning_table, stated_rate

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / 'docs/learning.md').read_text()
RECORD = [
    json.loads(line) for line in (ROOT / 'tools/benchmarks/learning.jsonl').read_text().splitlines()
]
RUNS = [row for row in RECORD if not row['search']]
CONSTANT = [row for row in RUNS if 'constant' in row['config']]
STOCK = [row for row in RUNS if row not in CONSTANT]
CONFIGS = {path.stem: path for path in (ROOT / 'configs/learning').glob('*.py')}


def lines(rows: list[dict], timed: bool) -> list[str]:
    seconds = {row['config']: row['step_seconds'] for row in rows} if timed else None
    return learning_table(rows, seconds).splitlines()


def test_the_tables_are_those_of_the_record():
    shown = re.findall(r'^\| (?!detector ).*$', PAGE, re.MULTILINE)
    # A time is that of a config beside the others: those that came later have none.
    assert shown == [*lines(STOCK, timed=True)[2:], *lines(CONSTANT, timed=False)[2:]]
    assert {row['config'] for row in RUNS} == set(CONFIGS)


@pytest.mark.parametrize('config', sorted({row['config'] for row in RUNS}))
def test_a_config_has_the_rate_that_was_found_for_it(config):
    searched = config.replace('-constant', '')  # no search of its own
    rate = stated_rate(CONFIGS[config])
    assert float(f'{best_rate(RECORD, searched):.2g}') == rate
    assert {row['lr'] for row in RUNS if row['config'] == config} == {rate}


def seconds(rows: list[dict], seeds: int) -> float:
    """What as many trainings of each config take, each as long as those of its record."""
    configs = {row['config'] for row in rows}
    own = [[row['processor_seconds'] for row in rows if row['config'] == name] for name in configs]
    return seeds * sum(map(fmean, own))


def test_the_times_are_those_of_the_record():
    search = sum(row['processor_seconds'] for row in RECORD if row['search'])
    taken = [seconds(RUNS, seeds=2), search + seconds(STOCK, seeds=3), search]
    on_two_cores = [round(time / 2 / 60) for time in taken]
    assert [int(number) for number in re.findall(r'(\d+) minutes', PAGE)] == on_two_cores
    assert on_two_cores[0] < 50


def test_a_ranking_loss_costs_as_much_more_as_told():
    step = {tuple(row['config'].split('_')[i] for i in (0, -3)): row['step_seconds']
            for row in STOCK}  # fmt: skip
    stock = {detector: time for (detector, loss), time in step.items()
             if loss in ('focal', 'ce', 'ce-ohem')}  # fmt: skip
    more = max(time / stock[detector] for (detector, _), time in step.items()) - 1
    assert f'at most {100 * more:.0f} % more' in PAGE
