"""tools/read_config.py, as a user calls it."""

from pathlib import Path


def test_printing(tool, tmp_path):
    (tmp_path / 'theirs.py').write_text("import os\na = dict(b=1)\nos.mkdir('taken')\n")
    done = tool('read_config', 'theirs.py')
    assert done.status == 0 and not Path('taken').exists()
    assert done.out.splitlines() == [
        "a = {'b': 1}",
        '',
        '# Not run, so that values may differ from these:',
        '# theirs.py:1: import os',
        "# theirs.py:3: os.mkdir('taken')",
    ]


def test_what_is_no_config(tool, tmp_path):
    (tmp_path / 'theirs.py').write_text('a = (')
    done = tool('read_config', 'theirs.py')
    assert done.status == 1 and done.err.startswith('error: config ') and 'no Python' in done.err
    done = tool('read_config', 'none.py')
    assert done.status == 1 and 'none.py does not exist' in done.err
