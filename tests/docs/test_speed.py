"""The page on speed shows what the records hold."""

from pathlib import Path

from tools.benchmarks import speed_tables

PAGE = speed_tables.PAGE.read_text()


def test_the_tables_are_those_of_the_records():
    assert speed_tables.fill(PAGE) == PAGE


def test_every_table_is_on_the_page():
    for name in speed_tables.TABLES:
        assert PAGE.count(f'<!-- {name} -->') == 1


def test_a_changed_number_is_noticed():
    row = next(line for line in PAGE.splitlines() if line.startswith('| retinanet | focal | 128'))
    changed = PAGE.replace(row, row.replace('128', '129'))
    assert changed != PAGE and speed_tables.fill(changed) == PAGE


def test_every_row_says_where_it_comes_from():
    for name in ('losses', 'steps', 'scale', 'global'):
        rows = speed_tables.read(name)
        assert rows
        for row in rows:
            assert row['command'].startswith('python ') and row['commit'] and row['device']
            assert '/tmp' not in row['command']


def test_blank_is_blank():
    assert speed_tables.table(['a', 'b'], [[None, 12345], [0.5, 'x']]) == (
        '| a | b |\n| --- | --- |\n|  | 12,345 |\n| 0.50 | x |'
    )


def test_links_lead_somewhere():
    folder = Path(speed_tables.PAGE).parent
    assert (folder / 'kernels.md').exists() and (folder / 'images/speed_scale.png').exists()
