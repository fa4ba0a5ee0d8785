"""Reading a config without running it, against MMEngine, which runs it."""

import re
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import Config

import rankdet.plugin  # noqa: F401
from rankdet.untrusted import Refused, Unread, read_config
from tests.tools.cli import run_alone
from tests.untrusted.mutations import Damage, damaged

ROOT = Path(__file__).resolve().parents[2]
ALL = sorted((ROOT / 'configs').rglob('*.py'))
PLAIN = [path for path in ALL if not read_config(path).unread]


def bare(value):
    """Python's own containers, without the scopes that MMEngine notes."""
    if isinstance(value, dict):
        return {key: bare(inner) for key, inner in value.items() if key != '_scope_'}
    return type(value)(map(bare, value)) if isinstance(value, (list, tuple)) else value


@pytest.fixture
def write(tmp_path):
    def file(text, name='configs/a/config.py'):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return file


def test_many_of_our_configs_are_plain():
    assert len(PLAIN) > 30


@pytest.mark.parametrize('path', PLAIN[::4], ids=lambda path: path.stem)
def test_as_the_host_reads_them(path):
    expected = Config.fromfile(path, import_custom_modules=False).to_dict()
    assert bare(read_config(path).values) == bare(expected)


def test_the_bases_of_an_installed_package(write):
    """Its files name each other by relative paths, outside of the folder of the config."""
    path = write("_base_ = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'\nrate = 0.1")
    found = read_config(path)
    expected = bare(Config.fromfile(path, import_custom_modules=False).to_dict())
    assert [Path(piece.file).name for piece in found.unread] == ['retinanet_tta.py']
    for values in (found.values, expected):
        del values['tta_pipeline']
    assert bare(found.values) == expected and found.values['rate'] == 0.1


BASE = """
model = dict(type='A', head=dict(type='H', classes=80, more=dict(a=1)), neck=[1, 2])
scale = (1333, 800)
part = dict(a=1, b=dict(c=2))
"""
OWN = """
_base_ = ['base.py']
import os
rate = 0.01 * 2 / 4 - -1
name = 'a' + f'{rate}' + 'b' * 3
model = dict(head=dict(_delete_=True, type='G'), neck=[3])
copied = {{_base_.part.b}}
sizes = [(s, 1) for s in _base_.scale]
both = [*_base_.scale, _base_.scale[0] // 2]
extra = dict(**_base_.part, c=dict(_base_.part, a=2), d=os.environ.get('HOME'))
letters = tuple('abc')
place = '{{$RANKDET_NONE:data/x}}/{{ fileBasenameNoExtension }}/{{$HOME:y}}'
for i in range(3):
    looped = i
gone = 1
del gone
one = two = not True
"""


def test_each_kind_of_expression(write):
    write(BASE, 'configs/a/base.py')
    path = write(OWN)
    found = read_config(path)
    expected = bare(Config.fromfile(path).to_dict())
    unknown = {'sizes', 'looped', 'i'}
    assert [piece.line for piece in found.unread] == [3, 8, 10, 13]
    assert all(isinstance(found.values[key], Unread) for key in unknown)
    assert repr(found.values['extra'].pop('d')) == "<a/config.py:10: os.environ.get('HOME')>"
    expected['extra'].pop('d')
    for key in unknown:
        expected.pop(key, None)
        found.values.pop(key)
    assert found.values == expected
    assert '# a/config.py:3: import os' in found.text()


def test_nothing_runs(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    attack = "__import__('os').mkdir('taken')"
    found = read_config(
        write(
            f'a = {attack}\nb = [1, {attack}]\n{attack}\nc = f"{{{attack}}}"\n'
            f'class D:\n    x = {attack}\ne = (lambda: {attack})()\nf = [0][{attack}]\n'
            f'custom_imports = dict(imports=["attack"])\n'
        )
    )
    write("import os; os.mkdir('taken')", 'attack.py')
    assert not Path('taken').exists() and len(found.unread) == 7
    assert found.values['b'][0] == 1 and 'mkdir' in repr(found.values['b'][1])
    assert found.values['custom_imports'] == dict(imports=['attack'])


@pytest.mark.parametrize('base', ['../../out.py', '/etc/passwd', 'none.py', 'none::a.py', 'a\0.py'])
def test_bases_from_elsewhere(write, base):
    write('secret = 1', 'out.py')
    found = read_config(write(f'_base_ = {base!r}\na = 1'))
    assert found.values == {'a': 1} and 'is not followed' in found.unread[0].source


def test_a_base_beside_the_folder_of_a_run(write):
    write('b = dict(c=1)', 'configs/b/other.py')
    found = read_config(write("_base_ = '../b/other.py'\nb = dict(d=2)"))
    assert found == ({'b': {'c': 1, 'd': 2}}, [])


@pytest.mark.parametrize(
    'text, words',
    [
        ("_base_ = 'config.py'", 'round in circles'),
        ('a = (', 'is no Python'),
        ('a = ' + '(' * 5000 + ')' * 5000, 'is no Python|nests too deep'),
        ('a = ' + '-' * 50_000 + '1', r'is no Python \(.+\)|nests too deep'),
        ('a = ' + '1+' * 400_000 + '1', 'is no Python|nests too deep'),
        ('a = "\0"', 'is no Python'),
        ("a = f'" + '{1}' * 10_001 + "'", 'f-strings and more than 10000 braces'),
        ('#' * 1_000_001, 'more than 1000000 bytes'),
        ('a = [0] * 100\n' + 'a = [a] * 100\n' * 30, 'holds more than 200000 values'),
    ],
)
def test_configs_that_are_refused(write, text, words):
    with pytest.raises(Refused, match=rf'config .*config\.py.*({words})'):
        read_config(write(text))


@pytest.mark.parametrize(
    'text',
    [
        "a = 'x' * 10 ** 10",
        'a = 9 ** 9 ** 9',
        "a = 'x'\n" + 'a = a + a\n' * 60,
        'a = 9\n' + 'a = a * a\n' * 60,
        'a = 1 << 10 ** 10',
        'a = 1 / 0',
        'a = [1][2]',
        'a = dict(**[1])',
        'a = -"x"',
        'a = {[]: 1}',
    ],
)
def test_what_would_take_for_ever_is_not_worked_out(write, text):
    found = read_config(write(text))
    assert isinstance(found.values['a'], Unread) and len(found.text()) < 10_000_000


LONG = "a = 'x' * 100_000\n"
MANY = 'a = [0] * 100_000\n'
NAMED = 'a = {' + ', '.join(f'{n}: 0' for n in range(50_000)) + '}\n'
SHOWN = f"a = {{'x' * 100_000: [{'1, ' * 1000}]}}\n"
REFUSED = r'^error: config .*config\.py (holds more than 200000 values|nests too deep)'
NOT_RUN = rf'# a/config\.py:2: |{REFUSED}'
BOMBS = {
    'a joined string': (LONG + "b = f'" + '{a}' * 9_000 + "'", NOT_RUN),
    'joined strings in a string': (LONG + 'b = f"' + "{f'{a}'}" * 4_500 + '"', NOT_RUN),
    'joined strings in a list': (LONG + 'b = [' + "f'{a}'," * 9_000 + ']', NOT_RUN),
    'repeated strings in a list': ('a = 1\nb = [' + "'x'*100000," * 70_000 + ']', NOT_RUN),
    'a spread list': (MANY + 'b = [' + '*a,' * 200_000 + ']', NOT_RUN),
    'a spread tuple': (MANY + 'b = (' + '*a,' * 200_000 + ')', NOT_RUN),
    'spread lists in a list': (MANY + 'b = [' + '[*a],' * 150_000 + ']', NOT_RUN),
    'repetition of repetition': (MANY + 'b = [' + '[0]*9**5,' * 70_000 + ']', NOT_RUN),
    'copies': (MANY + 'b = [' + 'tuple(a),' * 90_000 + ']', NOT_RUN),
    'a sum': (LONG + 'b = [' + "a[0]+'x'*99999," * 60_000 + ']', NOT_RUN),
    'merged dicts': (NAMED + 'b = [' + '{**a},' * 60_000 + ']', NOT_RUN),
    'merged dicts by call': (NAMED + 'b = [' + 'dict(a),' * 50_000 + ']', NOT_RUN),
    'variables': ('a = 1\nb = "' + '{{$LONG:}}' * 90_000 + '"', 'error: .* of more than 200'),
    'long variables': ('a = 1\nb = "' + '{{$LONG:}}' * 100 + '"', 'error: .* grows too large'),
    'a hash of pairs': ('a = 1,\n' + 'a = a, a\n' * 50 + 'b = {a: 1}', r'# .*52: \{a: 1\}|error'),
    'dicts of the same dict': ('a = {}\n' + 'a = dict(x=a, y=a)\n' * 60, REFUSED),
    'text in a list': (LONG + 'b = [a] * 100_000', REFUSED),
    'a deep list': ('a = []\n' + 'a = [a]\n' * 500, REFUSED),
    'indentation': (SHOWN, 'error: the config would be shown in more than 20000000 characters'),
    'a long number': ('a = 1\nb = 0x' + 'f' * 900_000, NOT_RUN),
    'a long key': ('a = 1\nb = {0x' + 'f' * 900_000 + ': 1}', NOT_RUN),
    'formats': (
        "a = 1\nb = ['%099999999d' % 1, '{:99999999}'.format(1), f'{1:99999999}']",
        NOT_RUN,
    ),
}


@pytest.mark.parametrize('name', BOMBS)
def test_nothing_grows_beyond_memory(write, tmp_path, name):
    """The tool as a process of its own, with 1.5 GB of memory and with two minutes."""
    text, expected = BOMBS[name]
    path = write(text)
    limited = f'ulimit -v {1500 * 2**10}; exec "$0" "$@"'
    command = ['timeout', 120, 'bash', '-c', limited, sys.executable, ROOT / 'tools/read_config.py']
    done = run_alone([*command, path], tmp_path, PYTHONPATH=str(ROOT), LONG='x' * 100_000)
    shown = done.out + done.err
    assert re.search(expected, shown, re.MULTILINE), shown[-500:]
    assert 'Traceback' not in shown and len(shown) < 10_000_000
    assert done.status == ('error: ' in done.err)


def test_bases_are_large_together(write):
    write('a = 1\n' + '#' * 600_000, 'configs/a/base.py')
    path = write("_base_ = 'base.py'\n" + '#' * 600_000)
    with pytest.raises(Refused, match=r'base\.py has, with its bases, more than 1000000 bytes'):
        read_config(path)


@pytest.mark.parametrize('base', ['5', "'__main__::a.py'", '{1: 2}'])
def test_bases_that_are_none(write, base):
    found = read_config(write(f'_base_ = {base}\na = 1'))
    assert found.values == {'a': 1} and len(found.unread) == 1


def test_a_part_of_what_was_not_run_is_not_known(write):
    found = read_config(write('a = run()\nb = a[0]'))
    assert isinstance(found.values['b'], Unread) and len(found.unread) == 2


def test_json(write):
    path = write('{"a": {"b": [1, 2]}}', 'config.json')
    assert read_config(path) == ({'a': {'b': [1, 2]}}, [])
    with pytest.raises(Refused, match='no object of names'):
        read_config(write('[1]', 'config.json'))


Literals = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.floats(allow_nan=False)
    | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.tuples(inner) | st.dictionaries(st.text('ab'), inner)
    ),
    max_leaves=10,
)


@settings(max_examples=60, deadline=None)
@given(Literals)
def test_any_literal(tmp_path_factory, value):
    path = tmp_path_factory.mktemp('a') / 'config.py'
    path.write_text(f'a = {value!r}', encoding='utf-8')
    found = read_config(path)
    infinite = 'inf' in repr(value)
    assert infinite or (found.values == {'a': value} and not found.unread)


@settings(max_examples=60, deadline=None)
@given(Damage, st.sampled_from([BASE, OWN]))
def test_damaged_configs(tmp_path_factory, damage, text):
    path = tmp_path_factory.mktemp('a') / 'config.py'
    path.write_bytes(damaged(text.encode(), damage))
    try:
        assert read_config(path).text() is not None
    except Refused as error:
        assert 'config.py' in str(error)
