"""The pages on speed and on the choice of a loss show what the records hold."""

import json
from itertools import product
from pathlib import Path

import pytest

from tools.benchmarks import speed_tables

PAGE = speed_tables.PAGE.read_text()
PAGES = [path.read_text() for path in speed_tables.PAGES]


def test_the_tables_are_those_of_the_records():
    for page in PAGES:
        assert speed_tables.fill(page) == page


def test_every_table_is_on_a_page():
    for name in speed_tables.TABLES:
        assert sum(page.count(f'<!-- {name} -->') for page in PAGES) == 1


def test_a_changed_number_is_noticed():
    row = next(line for line in PAGE.splitlines() if line.startswith('| retinanet | focal |'))
    changed = PAGE.replace(row, row.replace('| focal |', '| focal | 9', 1))
    assert changed != PAGE and speed_tables.fill(changed) == PAGE


@pytest.mark.parametrize('path', sorted(speed_tables.RECORDS.glob('*.jsonl')), ids=lambda p: p.stem)
def test_every_row_says_where_it_comes_from(path):
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert rows
    for row in rows:
        assert row['commit'] and row['device']
        assert '/tmp' not in json.dumps(row)
        if path.stem == 'learning':
            # One command trains all; a row is one training of it, and names what makes it again.
            assert row['config'] and row['lr'] and row['seed'] is not None and row['torch']
        else:
            assert row['command'].startswith('python ')


def test_the_commands_are_those_of_the_records():
    for name in ('losses', 'steps', 'scale', 'global', 'evaluation'):
        for row in speed_tables.read(name) + speed_tables.read(name, True):
            assert f'\n{row["command"]}\n' in PAGE


def write_gpu_rows(folder):
    """Rows as the benchmarks write them on a GPU, with made-up times."""
    where = dict(device='a GPU', threads=None, load=1.0, command='python x', reason=None)
    losses = [
        where | dict(
            loss=loss, backend=backend, regime=regime, positives=positives, classes=80,
            dtype='float32', best_ms=3.0, ratio_to_focal=1.5, processor_ratio_to_focal=1.5,
            ratio_to_copy=2.5, graph_ms=0.7, peak_bytes=110, gradient_bytes=100,
        )
        for regime, positives, (loss, backend) in product(
            speed_tables.REGIMES,
            (300, 1500, 10_000),
            [
                *product(('ap', 'alrp', 'dr'), ('triton',)),
                *product(('focal', 'copy', 'focal_mmcv', 'loop', 'loop_float32'), (None,)),
            ],
        )
    ]  # fmt: skip
    steps = [
        where | dict(
            detector=detector, loss=loss, size=512, images=8, iteration_ms=99.0, share=0.1,
            ratio_to_focal=1.01, loss_ms=9.0, targets_ms=9.0, share_of_targets=0.1,
            peak_bytes=2**30,
        )
        for detector, loss in product(
            speed_tables.DETECTORS, ('focal', 'ap', 'alrp', 'dr', 'stock')
        )
    ]  # fmt: skip
    scale = [
        where | dict(
            loss=loss, regime=regime, size=size, positives=positives,
            best_ms=1e-6 * size + 1e-3 * positives, processor_ms=1.0,
        )
        for loss, regime in product(('focal', 'ap', 'alrp', 'dr'), ('start', 'trained'))
        for size, positives in [
            (10**5, 1000), (10**6, 1000), (10**7, 1000), (10**6, 10), (10**6, 50_000),
        ]
    ]  # fmt: skip
    together = [
        where | dict(
            loss=loss, processes=2, regime='start', positives=1500, all_positives=3010,
            number_bytes=4, collectives=3, gathered_bytes=1, reduced_bytes=1, sent_bytes=1,
            as_formula=True, batch_ms=1.0, global_ms=2.0, collective_ms=0.5, latency_ms=0.02,
            bytes_a_second=5e10, reason='-',
        )
        for loss in ('ap', 'alrp')
    ]  # fmt: skip
    for name, rows in dict(losses=losses, steps=steps, scale=scale).items():
        (folder / f'{name}.jsonl').write_text('\n'.join(map(json.dumps, rows)))
    (folder / 'global.jsonl').write_text('\n'.join(map(json.dumps, together)))


GPU_TABLES = (
    'losses on a gpu', 'limits on a gpu', 'loop on a gpu', 'steps on a gpu', 'scale on a gpu',
    'global times',
)  # fmt: skip


@pytest.mark.parametrize('name', GPU_TABLES)
def test_rows_of_a_gpu_would_fill_its_tables(name, monkeypatch, tmp_path):
    before = cells(speed_tables.TABLES[name]())
    write_gpu_rows(tmp_path)
    monkeypatch.setattr(speed_tables, 'RECORDS', tmp_path)
    filled = cells(speed_tables.TABLES[name]())
    assert filled and all(cell for row in filled for cell in row)
    if name != 'global times':  # blank until then, its CPU rows left aside
        assert len(filled) == len(before) and not any(row[-1] for row in before)


def test_what_a_gpu_would_show(monkeypatch, tmp_path):
    write_gpu_rows(tmp_path)
    monkeypatch.setattr(speed_tables, 'RECORDS', tmp_path)
    assert cells(speed_tables.limits())[0][3:] == ['2.50'] * 3 + ['1.10'] * 3 + ['0.70'] * 3
    assert cells(speed_tables.losses(True))[0][3:9] == ['1.50'] * 3 + ['1.00'] * 3
    # 1 ms more; three collectives of 0.02 ms.
    first = cells(speed_tables.check())[0]
    assert first[6:8] == ['1.00', '0.06']
    work = cells(speed_tables.many_gpus())[1]
    assert float(work[-2]) > 50 and float(work[-1]) > float(work[-2])  # 96,000 positives
    assert not any(work[6:8])  # no CPU was measured here


def cells(table):
    return [[cell.strip() for cell in line[1:-1].split('|')] for line in table.splitlines()[2:]]


def test_blank_is_blank():
    assert speed_tables.table(['a', 'b'], [[None, 12345], [0.5, 'x']]) == (
        '| a | b |\n| --- | --- |\n|  | 12,345 |\n| 0.50 | x |'
    )


def test_links_lead_somewhere():
    folder = Path(speed_tables.PAGE).parent
    assert (folder / 'kernels.md').exists() and (folder / 'images/speed_scale.png').exists()
