"""Configs that hide from a reader what MMEngine runs, and any config against MMEngine itself."""

import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mmengine.config import Config, ConfigDict

from rankdet.untrusted import Refused, Unread, read_config
from tests.tools.cli import run_alone
from tests.untrusted.test_config_text import bare

CODE = "open('ran', 'w').close()"
EVIL = {'evil.py': CODE}
COOKIE = f'# coding: utf-7\na = 1\n# +AAoAIgAiACI-\n{CODE}\n# +AAoAIgAiACI-'
LAZY = f'a = """ {{{{_base_.b}}}}""" ; import mmdet; {CODE} #"""'
#: The first file is the config.
ATTACKS = {
    'default in a comment': {'a.py': f'# {{{{$NOPE:8|\\n{CODE.replace(" ", "")}#}}}}\na = 1'},
    'encoding': {'a.py': COOKIE},
    'JSON': {'a.json': '{"_base_": "evil.py", "a": 2}', **EVIL},
    'JSON in a list': {'a.json': '{"_base_": ["./evil.py"]}', **EVIL},
    'base of a JSON base': {'a.py': '_base_ = "b.json"', 'b.json': '{"_base_": "evil.py"}', **EVIL},
    'first of two targets': {'a.py': "_base_ = base = 'evil.py'", **EVIL},
    'variable in a base': {'a.py': "_base_ = '{{$NOPE:evil}}.py'", **EVIL},
    'quotes around a base value': {'a.py': f'a = """x {{{{_base_.b}}}}""" "; {CODE} #"'},
    'imports within a string': {'a.py': LAZY},
    'name of the file': {f"x'; {CODE} #.py": "a = '{{fileBasename}}'"},
    'name of two lines': {f'x\n{CODE}#.py': '# {{ fileBasename }}'},
    'link to a file': {'a/c.py': '../b/c.py', 'b/c.py': "_base_ = 'd.py'", 'b/d.py': 'a = 1'}
    | {'a/d.py': CODE},
    'link to a folder': {'a.py': "_base_ = 'b/../d.py'", 'b': 'c/b', 'c/d.py': 'a = 1'}
    | {'c/b/e.py': '', 'd.py': CODE},
}
LINKS = ('a/c.py', 'b')
LOAD = """
import os, sys
from mmengine.config import Config
for folder, name in zip(sys.argv[1::2], sys.argv[2::2]):
    os.chdir(folder)
    try:
        Config.fromfile(name)
    except Exception as error:
        print(folder, error)
"""


def written(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(text) if name in LINKS else path.write_text(text)
    return next(iter(files))


@pytest.fixture(scope='module')
def loaded(tmp_path_factory):
    """A folder for each attack, after MMEngine loaded it."""
    folders = {name: tmp_path_factory.mktemp('attack') for name in ATTACKS}
    pairs = [(folders[name], written(folders[name], ATTACKS[name])) for name in ATTACKS]
    done = run_alone([sys.executable, '-c', LOAD, *sum(pairs, ())], folders['JSON'])
    assert done.status == 0, done.err
    return folders


@pytest.mark.parametrize('name', ATTACKS)
def test_what_runs_is_named(name, loaded, tmp_path, monkeypatch):
    assert (loaded[name] / 'ran').exists()
    monkeypatch.chdir(tmp_path)
    path = written(tmp_path, ATTACKS[name])
    try:
        assert read_config(path).unread
    except Refused as error:
        assert path in str(error)
    assert not Path('ran').exists()


@pytest.mark.parametrize(
    'text, words',
    [
        ("a = '{{$NOPE:a b}}'", r'a variable that is no plain .*NOPE:a b'),
        ("a = '{{$NOPE:(x+x+)+y}}'", 'a variable that is no plain'),
        ("a = '{{$NOPE:}}'", 'needs the environment variable NOPE, which is not set'),
        ("a = '{{$CODE:b}}'", 'takes in the environment variable CODE, which is no plain'),
        ("a = '{{$LINES:b}}'", 'which is no plain name'),
        ('#' + '{{$NOPE:b}}' * 201, 'a variable that is one of more than 200'),
        ('#' + ''.join(f'{{{{_base_.b{n}}}}}' for n in range(201)), 'has too many'),
        ('a = 1 #{{_base_.b.c}}{{_base_.bxc}}', r'_base_\.b\.c\}\} and another'),
        ('#' + '{{fileDirname}}' * 60_000, 'grows too large'),
        (f'#{"{{$" * 300_000}', 'a variable that is no plain'),
        (f'#{{{{$NOPE:{" " * 900_000}', 'a variable that is no plain'),
        ('a = "\xe9"'.encode('latin-1'), 'is not UTF-8'),
        (LAZY, 'has imports that a {{...}} turns into something else'),
    ],
    ids=lambda value: str(value)[:30],
)
def test_texts_that_are_refused(tmp_path, monkeypatch, text, words):
    monkeypatch.setenv('CODE', "'; run() #")
    monkeypatch.setenv('LINES', 'a\nrun()')
    path = tmp_path / 'config.py'
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(Refused, match=rf'config .*config\.py .*{words}'):
        read_config(path)


@pytest.mark.parametrize('name', ['config.yaml', 'config.txt', 'config'])
def test_other_kinds_are_refused(tmp_path, name):
    (tmp_path / name).write_text('a = 1')
    with pytest.raises(Refused, match=f'{name} is no .py or .json'):
        read_config(tmp_path / name)


@pytest.mark.parametrize(
    'name, text',
    [
        ('a.py', r"""a = '{' '{$NOPE:8|\nopen("ran","w")#}}'; b = [b'{' b'{{x', '{' '{{{']"""),
        (f'x\n{CODE}\n#.py', 'run()'),
    ],
    ids=['variable', 'name of the file'],
)
def test_what_is_shown_is_a_config_that_runs_nothing(tmp_path, monkeypatch, name, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text(text)
    found = read_config(name)
    Path('plain.py').write_text(found.text())
    loaded = Config.fromfile('plain.py').to_dict()
    assert loaded == found.values and not Path('ran').exists()


def test_names_of_json_that_are_code(tmp_path):
    (tmp_path / 'a.json').write_text(f'{{"{CODE}; a": 1}}'.replace("'", r'\u0027'))
    with pytest.raises(Refused, match='which is none in Python'):
        read_config(tmp_path / 'a.json').text()


def test_json_on_bases(tmp_path):
    files = {
        'a.json': '{"_base_": ["b.json", "c.py"], "n": {"y": "{{$NOPE:2}}"}, "__x": 1,'
        '"k": {{_base_.n.x}}}',
        'b.json': '{"n": {"x": 1}}',
        'c.py': "m = '{{ fileBasename }}'",
    }
    path = tmp_path / written(tmp_path, files)
    expected = {'n': {'x': 1, 'y': '2'}, 'm': 'c.py', 'k': 1}
    assert read_config(path) == (expected, []) and bare(Config.fromfile(path).to_dict()) == expected


@pytest.mark.parametrize('value', ['{{_base_.c}}', '"a\\{{_base_.b}}', '{{_base_.d}}'])
def test_json_without_such_a_base(tmp_path, value):
    path = tmp_path / written(tmp_path, {'a.json': f'{{"_base_": "b.py", "k": {value}}}'})
    (tmp_path / 'b.py').write_text('b = 1; d = [dict(x=dict(_delete_=True))]')
    with pytest.raises(Refused, match='that its bases do not have'):
        read_config(path)


def test_what_a_config_dict_answers_itself(tmp_path):
    """`_base_.b.keys` is a method there, whatever `b` holds."""
    own = {name for name in {*dir(ConfigDict()), 'scope'} if not name.startswith('__')}
    (tmp_path / 'base.py').write_text(f'b = dict.fromkeys({sorted(own)})')
    path = tmp_path / 'config.py'
    lines = [f'a{number} = _base_.b.{name}' for number, name in enumerate(sorted(own))]
    path.write_text("_base_ = 'base.py'\n" + '\n'.join(lines))
    values = read_config(path).values
    assert all(isinstance(values[f'a{number}'], Unread) for number in range(len(own)))


BASE = """
b = dict(x=1, keys=2, y=dict(_delete_=True, z='v'))
c = [1, (2, dict(x='w'))]
bxd = 'u'
"""
PLAIN = [
    *('1', "'s'", 'a', 'd', '_base_.b', '_base_.c[1]', '{{_base_.b}}', '{{ _base_.c }}'),
    *('{{_base_.b.x}}', "'{{$NOPE:x.z}}'", "'{{$OURS:x}}'", "'{{fileBasename}}'", "{'z': None}"),
]
ODD = [
    *('_base_.b.keys', "'{{_base_.b}}'", 'b"{{_base_.b}}"', '{{_base_.bxd}}', "'{{{{$NOPE:x}}}}'"),
    *("'{{$NOPE:xyz}}'", "{{'$NOPE:7'}}", '"{{\'$NOPE:7}}"', '"{{$NOPE:...........}}"', "f'{a}'"),
    *('"""{{_base_.b}}""" ""', "'{' '{$NOPE:x}}'", '_base_.b.x', "'{{$NOPE:a}}{{$NOPE:b}}'"),
]
Values = st.recursive(
    st.sampled_from(4 * PLAIN + ODD),
    lambda inner: (
        st.builds('[{}, {}]'.format, inner, inner)
        | st.builds('dict(x={}, y={})'.format, inner, inner)
        | st.builds('dict(_delete_={}, y={})'.format, inner, inner)
        | st.builds("{{'y': {}, **{}}}".format, inner, inner)
        | st.builds('{} + {}'.format, inner, inner)
        | st.builds('{}[{}]'.format, inner, st.sampled_from(['0', '-1', "'x'"]))
        | st.builds('({}, 1)'.format, inner)
        | st.builds('(*{},)'.format, inner)
    ),
    max_leaves=3,
)
Names = st.sampled_from(['a', 'b', 'c', 'd', '__e', 'a = b', 'b = _base_', '_deprecation_'])
Lines = (
    st.builds('{} = {}'.format, Names, Values)
    | st.builds('{} = {} # {}'.format, Names, Values, Values)
    | st.builds('{} = {}; {} = {}'.format, Names, Values, Names, Values)
    | st.sampled_from(['_base_ = "base.py"', '_base_ = a = ["b2.py"]', 'del a', '\f', '"{{a"'])
)


@pytest.mark.filterwarnings('ignore::SyntaxWarning')
@settings(max_examples=300, deadline=None)
@given(
    st.lists(Lines, min_size=1, max_size=3).map('\n'.join),
    st.sampled_from(['\n', '\r\n', '\r']),
    st.sampled_from([True, True, True, False]),
)
@example('a = """x {{_base_.b}}""" " #"', '\n', True)
@example('# coding: utf-7\na = "+AG4-"', '\n', False)
@example('a = "a{{\'$NOPE:abc\'}}b"', '\n', True)
@example('a = b = {{_base_.b}}', '\n', True)
@example('c = {{_base_.bxd}}; b = dict(y={{_base_.b.y}}); bxd = {{_base_.b.y}}', '\n', True)
def test_what_is_plain_is_as_the_host_has_it(tmp_path_factory, text, end, based):
    folder = tmp_path_factory.mktemp('a')
    (folder / 'base.py').write_text(BASE)
    (folder / 'b2.py').write_text(BASE.replace('1', '3'))
    path = folder / 'config.py'
    text = '_base_ = "base.py"\n' * based + "a = 1\nd = {'x': 's'}\n" + text
    path.write_bytes(text.replace('\n', end).encode())
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv('OURS', '/data/a set')
            found = read_config(path)
            expected = Config.fromfile(path, import_custom_modules=False).to_dict()
    except Exception:  # what either refuses
        return
    assert found.unread or bare(found.values) == bare(expected)
