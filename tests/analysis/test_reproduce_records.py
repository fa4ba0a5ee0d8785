"""Results in a file of lines and in a metafile, of which nothing else may change."""

import pytest
from mmengine.fileio import load

from rankdet.analysis.paper_tables import find_rows, read_metafile
from rankdet.analysis.reproduce.records import append_result, read_results, write_ours

OURS = dict(
    Metrics={'AP': 52.84},
    Command="tools/dist_train.sh a.py 2 --cfg-options 'x=[1,2]' # no comment: {}",
    Seed=0,
    Device='2 x A, B',
    Commit='12345678',
    Date='2026-01-01',
    Versions={'torch': '2.1'},
)
HEAD = """\
# A file of the papers: kept.
Models:
  - Name: &net net   # an anchor
    Config: configs/one/net.py
Tables:
  - Name: first
    Title: 'Ours: null'
    Columns: [AP]
    Rows:
      - Name: a
        Model: *net
        Ours: null
  # The second one.
"""
SECOND = {
    'block': """\
  - Title: |
      Rows:
      - Name: b
    Name: second
    Columns: [AP]
    Rows:   # two
      - Name: a
        Model: *net
        Ours: null   # not yet

      # about b
      - Name: b
        Model: *net
        Ours: null
        Paper: {AP: 53.1}

      - Name: c
""",
    'shallow': """\
  - Name: second
    Title: x
    Rows:
    - Name: a
      Model: *net
      Ours: null
    - Ours:
      Name: b   # first key
      Model: *net
    # about c
    - Name: c
    Columns: [AP]
""",
    'braces': """\
  - Name: second
    Title: x
    Columns: [AP]
    Rows:
      - {Name: a, Model: *net, Ours: null}
      - {Name: b, Model: *net,
         Ours: null}
      - {Name: c}
Other: [1]
""",
    'absent': """\
  - Name: second
    Title: x
    Columns: [AP]
    Rows:
      - Name: a
        Model: *net
        Ours: null
      - Name: b
        Model: *net
        Paper:
          AP: 53.1

# The end.
""",
}


@pytest.fixture(params=SECOND)
def metafile(request, tmp_path):
    path = tmp_path / 'one' / 'metafile.yml'
    path.parent.mkdir()
    path.write_text(HEAD + SECOND[request.param])
    return path


def find(path, name):
    return find_rows([read_metafile(path)], [name])[0]


def comments(path):
    return [line.partition('#')[2] for line in path.read_text().splitlines() if '#' in line]


def test_one_row_gets_a_result(metafile):
    before, lines = load(str(metafile)), metafile.read_text().splitlines()
    write_ours(metafile, find(metafile, 'second/b'), OURS)
    before['Tables'][1]['Rows'][1]['Ours'] = OURS
    assert load(str(metafile)) == before
    assert find(metafile, 'second/b').ours == OURS
    changed = [line for line in lines if line not in metafile.read_text().splitlines()]
    assert all('Ours' in line for line in changed), changed


def test_a_result_is_replaced(metafile):
    row = find(metafile, 'second/b')
    write_ours(metafile, row, OURS)
    first = metafile.read_text()
    write_ours(metafile, row, OURS | dict(Metrics={'AP': 1.5}, Device='A'))
    assert find(metafile, 'second/b').measured == {'AP': 1.5}
    write_ours(metafile, row, OURS)
    assert metafile.read_text() == first


def test_every_row_gets_its_own(metafile):
    for number, name in enumerate(('second/b', 'first/a', 'second/a')):
        write_ours(metafile, find(metafile, name), OURS | dict(Seed=number))
    seeds = [find(metafile, name).ours['Seed'] for name in ('second/b', 'first/a', 'second/a')]
    assert seeds == [0, 1, 2]
    kept = comments(metafile)
    for words in ('A file of the papers: kept.', 'an anchor', 'The second one.'):
        assert any(words in line for line in kept)


def test_a_file_that_cannot_be_followed_stays(tmp_path):
    path = tmp_path / 'one' / 'metafile.yml'
    path.parent.mkdir()
    text = 'Models: [{Name: net, Config: a.py}]\nTables: [{Name: t, Title: x, Columns: [AP], '
    path.write_text(text + 'Rows: [{Name: a, Model: net, Ours: null}]}]\n')
    before = path.read_text()
    with pytest.raises(ValueError, match=r'add it by hand: Ours: {"Metrics"'):
        write_ours(path, find(path, 't/a'), OURS)
    assert path.read_text() == before and [p.name for p in path.parent.iterdir()] == [path.name]


def test_the_newest_line_of_a_row_counts(tmp_path):
    path = tmp_path / 'new' / 'results.jsonl'
    assert read_results(path) == {}
    for row, value in (('a', 1), ('b', 2), ('a', 3)):
        append_result(path, dict(row=row, value=value))
    assert {row: entry['value'] for row, entry in read_results(path).items()} == dict(a=3, b=2)
    assert [p.name for p in path.parent.iterdir()] == ['results.jsonl']
    path.write_text(path.read_text() + '{"row": ')
    with pytest.raises(ValueError, match=r'results.jsonl, line 4 is no result'):
        read_results(path)
