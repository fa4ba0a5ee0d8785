"""tools/read_config.py, as a user calls it."""

from pathlib import Path

import pytest


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


HIDDEN = 'x = print("\x1b[2J\x1b[8m\u202e")\nname = "\x1b[31m"\n'


@pytest.mark.parametrize('name', ['theirs.py', 'th\x1beirs.py'])
def test_what_a_terminal_would_obey_is_shown(tool, tmp_path, name):
    (tmp_path / name).write_text(HIDDEN)
    done = tool('read_config', name)
    assert done.status == 0 and done.out.replace('\n', '').isprintable()
    assert done.out.splitlines()[0].endswith(r':1: print("\x1b[2J\x1b[8m\u202e")>')
    assert done.out.splitlines()[1] == r"name = '\x1b[31m'"
    assert done.out.splitlines()[-1].endswith(r':1: print("\x1b[2J\x1b[8m\u202e")')
    (tmp_path / name).write_text('a = (')
    done = tool('read_config', name)
    assert done.status == 1 and done.err.replace('\n', '').isprintable()


def test_what_is_no_config(tool, tmp_path):
    (tmp_path / 'theirs.py').write_text('a = (')
    done = tool('read_config', 'theirs.py')
    assert done.status == 1 and done.err.startswith('error: config ') and 'no Python' in done.err
    done = tool('read_config', 'none.py')
    assert done.status == 1 and 'none.py does not exist' in done.err
