"""What the pages say of files, commands and links is there."""

import argparse
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest

from rankdet.commands import tool_files

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *(ROOT / 'docs').glob('*.md')])
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


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    links = [link for link in LINK.findall(page.read_text()) if '://' not in link]
    for link in links:
        there = (page.parent / link).resolve()
        assert there.exists(), f'{page.name} links to {link}'


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
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
