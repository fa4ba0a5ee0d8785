"""tools/robustness.py: one command, one table; a mistake is one line."""

import csv
import json

import pytest

from tests.analysis import robustness_toy as toy

TINY = ('--patch-steps', 2, '--patch-batch', 2, '--patch-size', 4, '--workers', 0)


@pytest.fixture
def toys(tmp_path):
    data = toy.write_data(tmp_path / 'data', dict(train=2, test=2))
    return toy.write_config(tmp_path / 'toy.py', data), toy.write_checkpoint(tmp_path / 'toy.pth')


def test_detectors_side_by_side(tool, toys, tmp_path):
    chosen = ('--only', 'original', 'flip', 'adversarial', '--device', 'cpu')
    arguments = (*toys, *toys, '--names', 'one', 'two', *TINY, *chosen, '--out-dir', 'out')
    done = tool('robustness', *arguments)
    assert done.status == 0, done.err
    table = [line for line in done.out.splitlines() if line.startswith('|')]
    assert table[0].startswith('| detector | Original | Flip patch') and len(table) == 4
    assert table[2].startswith('| one | 100.0 / 100.0 |') and table[3].startswith('| two |')
    assert table[2].split('|')[2:] == table[3].split('|')[2:]  # the same detector twice
    assert (tmp_path / 'out/robustness.md').read_text() in done.out
    found = list(csv.DictReader((tmp_path / 'out/robustness.csv').open()))
    assert [row['detector'] for row in found] == ['one', 'two']
    assert found[0]['Original AP'] == '100.0'
    kept = json.loads((tmp_path / 'out/robustness.json').read_text())
    assert kept[0]['cells']['flip']['command'].startswith('python robustness.py ')
    assert len(list((tmp_path / 'out/two').glob('adversarial-*/adversarial_patch.png'))) == 1
    again = tool('robustness', *arguments, '--style', 'csv')
    assert again.out == (tmp_path / 'out/robustness.csv').read_text()  # and nothing else
    assert ': original' not in again.err  # nothing was measured again


def test_a_trained_detector(tool, config, checkpoint, tmp_path):
    """All columns of a RetinaNet trained by AP Loss."""
    done = tool('robustness', config, checkpoint, *TINY, '--images', 1, '--max-iter', 2,
                '--classes', 2, '--out-dir', 'out')  # fmt: skip
    assert done.status == 0, done.err
    (row,) = json.loads((tmp_path / 'out/robustness.json').read_text())
    assert len(row['cells']) == 7 and row['cells']['deepfool']['images'] == 1


@pytest.mark.parametrize(
    'arguments, words',
    [
        (['{config}', '{checkpoint}', '--only', 'black', 'fog'], ['columns', "['fog']", 'noise']),
        (['{checkpoint}'], ['toy.pth', 'no config in front of it']),
        (['{config}', 'none.pth'], ['none.pth', 'does not exist']),
        (['{config}', '{config}'], ['toy.py', 'no checkpoint behind it']),
        (['{config}', '{checkpoint}', '--extent', 'half'], ['extent', "'half'"]),
        (['{config}', '{checkpoint}', '--seed', '-1'], ['seed', '-1']),
        (['{config}', '{checkpoint}', '--variance', '-1'], ['variance', '-1.0']),
        (['{config}', '{checkpoint}', '--patch-steps', '0'], ['steps', 'got 0']),
        (['{config}', '{checkpoint}', '--images', '0'], ['images', 'got 0']),
    ],
)
def test_a_mistake_is_one_line(tool, toys, tmp_path, arguments, words):
    places = dict(config=toys[0], checkpoint=toys[1])
    done = tool('robustness', *(one.format(**places) for one in arguments), '--out-dir', 'out')
    lines = [line for line in done.err.splitlines() if line]
    assert done.status == 1 and len(lines) == 1 and lines[0].startswith('error: '), done.err
    assert all(word in lines[0] for word in words) and not (tmp_path / 'out').exists()


def test_data_without_boxes(tool, toys, tmp_path, edit_json):
    edit_json(tmp_path / 'data/annotations/test.json', lambda c: c.update(annotations=[]))
    done = tool('robustness', *toys, '--out-dir', 'out')
    assert done.status == 1 and 'test.json has no boxes' in done.err
    assert not (tmp_path / 'out').exists()


def test_help(tool):
    done = tool('robustness', '--help')
    assert done.status == 0 and 'python tools/robustness.py CONFIG CHECKPOINT' in done.out
    assert 'docs/robustness.md' in done.out and not done.err
