"""The command ``rankdet``, and the command lines that messages name."""

import ast
import re
import shlex
import sys
from pathlib import Path

import pytest

import rankdet
from rankdet import __main__ as command
from rankdet.commands import STARTED_AS, tool_line
from tests.tools import cli

# Measure or test this very checkout.
NEED_A_CHECKOUT = {'check_versions.sh', 'check_original_stack.sh'}
FILES = [
    path
    for path in sorted((cli.ROOT / 'tools').rglob('*.*'))
    if path.suffix in ('.py', '.sh')
    and path.parent.name != 'benchmarks'
    and path.name not in NEED_A_CHECKOUT
]
SCRIPT = re.compile(r'tools/[\w/]+\.(py|sh)')


def test_the_version(monkeypatch, capsys):
    monkeypatch.setattr(command.sys, 'argv', ['rankdet', '--version'])
    assert command.main() == 0
    assert capsys.readouterr().out.startswith(f'rankdet {rankdet.__version__} (')


@pytest.mark.parametrize('file', FILES, ids=lambda path: path.stem)
def test_every_tool_is_listed_and_started(file, monkeypatch, capsys):
    started = []
    monkeypatch.setenv(STARTED_AS, '')  # so that it is put back
    monkeypatch.setenv('PYTHON', '')
    monkeypatch.setattr(command.runpy, 'run_path', lambda path, **_: started.append(sys.argv))
    monkeypatch.setattr(command.os, 'execvp', lambda _, words: started.append(words[1:]))
    monkeypatch.setattr(sys, 'argv', ['rankdet', file.stem, '--a', 'b'])
    assert command.main() == 0
    ((path, *arguments),) = started
    assert Path(path).samefile(file) and arguments == ['--a', 'b']
    monkeypatch.setattr(sys, 'argv', ['rankdet', '--help'])
    assert command.main() == 0
    assert re.search(rf'^  {file.stem} +[A-Z].*\.$', capsys.readouterr().out, re.MULTILINE)


@pytest.mark.parametrize('name', ['to_coco', 'dist_test'])
def test_a_tool_from_an_empty_folder(name, tmp_path):
    done = cli.run_alone([sys.executable, '-m', 'rankdet', name, '--help'], tmp_path)
    assert done.status == 0 and 'Traceback' not in done.err
    assert 'rankdet dist_test CONFIG' in done.err if name == 'dist_test' else '--out' in done.out


def test_a_script_takes_the_python_of_rankdet(tmp_path):
    run = [sys.executable, '-m', 'rankdet', 'dist_train', 'none.py', '1']
    done = cli.run_alone(run, tmp_path, PYTHON='', PATH='/usr/bin:/bin')
    assert done.status == 1 and 'none.py' in done.err and 'Traceback' not in done.err


def test_a_line_fits_where_it_is_read(tmp_path, monkeypatch):
    monkeypatch.delenv(STARTED_AS, raising=False)
    monkeypatch.chdir(cli.ROOT)
    assert tool_line('report', 'my run') == "python tools/report.py 'my run'"
    converter = 'dataset_converters/to_coco'
    assert tool_line(converter, Path('a')) == f'python tools/{converter}.py a'
    monkeypatch.setenv(STARTED_AS, 'rankdet train')
    assert tool_line('report', 'my run') == "rankdet report 'my run'"
    monkeypatch.delenv(STARTED_AS)
    monkeypatch.chdir(tmp_path)
    assert tool_line(converter, Path('a')) == 'rankdet to_coco a'
    (tmp_path / 'tools').mkdir()
    (tmp_path / 'tools/report.py').write_text('')  # another project's
    assert tool_line('report') == 'rankdet report'


def test_an_error_names_a_line_that_runs(tmp_path):
    (tmp_path / 'coco/annotations').mkdir(parents=True)
    (tmp_path / 'mine.py').write_text(
        "_base_ = 'rankdet::demo/retinanet_r18_fpn_ap-loss_1xb8-3e_digits-160.py'"
    )
    done = cli.run_alone([sys.executable, cli.ROOT / 'tools/train.py', 'mine.py'], tmp_path)
    assert done.status == 1
    name, *words = shlex.split(done.err.split('make it with: ')[1])
    assert name == 'rankdet'
    again = cli.run_alone([sys.executable, '-m', name, *words, '--help'], tmp_path)
    assert again.status == 0 and '--out' in again.out, again.err


@pytest.mark.parametrize('tool', sorted({
    match
    for path in (cli.ROOT / 'rankdet').rglob('*.py')
    for match in re.findall(r'''tool_line\(\s*['"]([^'"]+)''', path.read_text())
}))  # fmt: skip
def test_a_line_names_a_tool_that_exists(tool):
    assert cli.ROOT / f'tools/{tool}.py' in FILES


def test_no_message_names_a_file_that_only_a_checkout_has():
    named = []
    for path in (cli.ROOT / 'rankdet').rglob('*.py'):
        tree = ast.parse(path.read_text(encoding='utf-8'))
        docs = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
            and ast.get_docstring(node)
        }
        named += [
            f'{path}:{node.lineno} {node.value}'
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
            and id(node) not in docs
            and SCRIPT.search(node.value) and not SCRIPT.fullmatch(node.value)
        ]  # fmt: skip
    assert not named
