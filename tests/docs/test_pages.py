"""What the pages say of files, commands and links is there."""

import argparse
import re
import runpy
import shlex
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from rankdet.commands import tool_files
from tests.docs.not_run import NOT_RUN, RUN_BY, SHELL_WORDS, SIGNS

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *(ROOT / 'docs').glob('*.md')])
READMES = sorted((ROOT / 'configs').glob('*/README.md'))
LINK = re.compile(r'\]\(([^)#\s]+)(?:#[^)]*)?\)')
SHELL = re.compile(r'```(?:sh|bash)\n(.*?)```', re.DOTALL)


def commands(page: Path) -> list[list[str]]:
    """Command lines of tools, continued lines joined, comments left out."""
    found = []
    for block in SHELL.findall(page.read_text()):
        for line in block.replace('\\\n', ' ').splitlines():
            words = shlex.split(line, comments=True)
            while words and ('=' in words[0] or words[0] in ('srun', 'do')):
                words.pop(0)
            if words:
                found.append(words)
    return found


def tool(words: list[str]) -> tuple[Path, list[str]] | None:
    """The Python program that a command line ends up in, and what is given to it."""
    if words[0] in ('python', '.venv/bin/python') and len(words) > 1:
        if words[1] == '-m':
            if not words[2].startswith('tools.'):
                return None
            return ROOT / (words[2].replace('.', '/') + '.py'), words[3:]
        return (ROOT / words[1], words[2:]) if words[1].endswith('.py') else None
    if words[0] == 'rankdet':
        words = [str(tool_files()[words[1]].resolve()), *words[2:]]
        words[0] = words[0].removeprefix(f'{ROOT}/')
    if not words[0].startswith('tools/'):
        return None
    path = ROOT / words[0]
    assert path.is_file(), path
    if path.name == 'dist_train.sh':  # CONFIG GPUS ...
        return ROOT / 'tools/train.py', words[1:2] + words[3:]
    if path.name == 'dist_test.sh':  # CONFIG CHECKPOINT GPUS ...
        return ROOT / 'tools/test.py', words[1:3] + words[4:]
    return (path, words[1:]) if path.suffix == '.py' else None


class Marked(NamedTuple):
    """A command line as typed, and what its page says of it."""

    text: str
    said: str  # the paragraph above its block, lines of comment above it, its own comment


def marked_commands(text: str) -> list[Marked]:
    """Command lines of a page's text, with the variables set before them."""
    found = []
    for block in SHELL.finditer(text):
        above = text[: block.start()].rstrip('\n').rpartition('\n\n')[2]
        for line in block[1].replace('\\\n', ' ').splitlines():
            command, *comment = re.split(r'(?:^|\s+)#\s*', line, maxsplit=1)
            if command.strip():
                said = ' '.join([above, *comment])
                found.append(Marked(' '.join(command.split()), ' '.join(said.split()).lower()))
            else:
                above = ' '.join([above, *comment])
    return found


def unaccounted(name: str, text: str) -> list[str]:
    """Commands of a page that are neither run, nor read by a test, nor marked as not run here."""
    faults = []
    for command, said in marked_commands(text):
        reasons = {why for begin, why in NOT_RUN.get(name, {}).items() if command.startswith(begin)}
        if reasons:
            if not any(f'not run here: {why.lower()}' in said for why in reasons):
                faults.append(f'not marked: {command}')
        elif 'not run here' in said:
            faults.append(f'marked, but not on the list: {command}')
        elif not any(command.startswith(begin) for begin in RUN_BY):
            words = shlex.split(command)
            while words and ('=' in words[0] or words[0] == 'do'):
                words.pop(0)
            read = not words or words[0] in SHELL_WORDS or tool(words) is not None
            if SIGNS.search(command) or not read:
                faults.append(f'neither run nor listed: {command}')
    return faults


class Parsed(Exception):
    """The command line was understood; nothing is to be run."""


def parse(path: Path, arguments: list[str], monkeypatch) -> None:
    """Let the tool's own parser read ``arguments`` and stop there."""
    understood = argparse.ArgumentParser.parse_args

    def read_only(parser, *args, **kwargs):
        understood(parser, *args, **kwargs)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, 'parse_args', read_only)
    monkeypatch.setattr(sys, 'argv', [str(path), *arguments])
    monkeypatch.syspath_prepend(str(ROOT))
    module = runpy.run_path(str(path), run_name='documented')
    with pytest.raises(Parsed):
        module['main']()


def samples(arguments: list[str]) -> list[str]:
    """As typed: options in brackets are options, and numbers stand for what is to be filled in."""
    bare = [word.strip('[]') for word in arguments if word != '...']
    numbers = {'GPUS': '1', 'N': '1'}
    return ['0.5' if w.endswith('score_thresholds.json') else numbers.get(w, w) for w in bare]


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize('page', PAGES, ids=named)
def test_links_lead_somewhere(page):
    links = [link for link in LINK.findall(page.read_text()) if '://' not in link]
    for link in links:
        there = (page.parent / link).resolve()
        assert there.exists(), f'{page.name} links to {link}'


@pytest.mark.parametrize('page', PAGES + READMES, ids=named)
def test_tools_understand_their_command_lines(page, monkeypatch):
    for words in commands(page):
        found = tool(words)
        if found is None:
            continue
        path, arguments = found
        assert path.is_file(), f'{page.name} runs {path.name}'
        with monkeypatch.context() as patch:
            try:
                parse(path, samples(arguments), patch)
            except SystemExit as end:
                # --help, or a command line that is shown to end so.
                helps = '--help' in arguments or not arguments
                assert helps and end.code in (0, 2), f'{page.name}: {shlex.join(words)}'


def test_a_wrong_command_line_is_noticed(monkeypatch):
    with pytest.raises(SystemExit):
        parse(ROOT / 'tools/report.py', ['a', '--pictures', 'many'], monkeypatch)


def test_the_pages_hold_commands():
    assert sum(len(commands(page)) for page in PAGES) > 40


@pytest.mark.parametrize('page', PAGES + READMES, ids=named)
def test_every_command_is_accounted_for(page):
    assert not unaccounted(named(page), page.read_text(encoding='utf-8'))


def test_the_list_holds_no_other_commands():
    there = {named(page): marked_commands(page.read_text()) for page in PAGES + READMES}
    for name, listed in NOT_RUN.items():
        for begin in listed:
            assert any(c.text.startswith(begin) for c in there[name]), f'{name} has no {begin}'
    for begin, where in RUN_BY.items():
        assert (ROOT / where).is_file() or where == '.ci/run'  # a source distribution has no .ci
        assert any(c.text.startswith(begin) for found in there.values() for c in found), begin


@pytest.mark.parametrize(
    'line, fault',
    [
        ('python tools/train.py configs/dr_loss/x.py 8', 'neither run nor listed'),
        ('srun hostname', 'neither run nor listed'),
        ('nvidia-smi', 'neither run nor listed'),
        ('python tools/report.py a  # not run here: needs a GPU', 'marked, but not on the list'),
        ('tools/dist_train.sh CONFIG 8', 'not marked'),
        ('tools/dist_train.sh CONFIG 8  # not run here: needs VOC', 'not marked'),
        ('tools/dist_train.sh CONFIG 8  # not run here: needs 8 GPUs', None),
        ('# not run here: needs 8 GPUs\ntools/dist_train.sh CONFIG \\\n    8', None),
        ('python tools/report.py a', None),
    ],
)
def test_an_unaccounted_command_is_noticed(line, fault):
    faults = unaccounted('docs/distributed.md', f'Text.\n\n```sh\n{line}\n```\n')
    assert [found.partition(':')[0] for found in faults] == ([fault] if fault else [])
