"""What the pages say of files, commands and links is there."""

import re
import shlex
from pathlib import Path

import pytest

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


def script(words: list[str]) -> str | None:
    if words[0] in ('python', '.venv/bin/python') and len(words) > 1:
        if words[1] == '-m':
            return words[2].replace('.', '/') + '.py' if words[2].startswith('tools.') else None
        return words[1] if words[1].endswith('.py') else None
    return words[0] if words[0].startswith('tools/') else None


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    links = [link for link in LINK.findall(page.read_text()) if '://' not in link]
    for link in links:
        there = (page.parent / link).resolve()
        assert there.exists(), f'{page.name} links to {link}'


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_tools_and_their_options_exist(page):
    for words in commands(page):
        name = script(words)
        if name is None:
            continue
        path = ROOT / name
        assert path.is_file(), f'{page.name} runs {name}'
        if path.name in ('dist_train.sh', 'dist_test.sh'):
            path = ROOT / 'tools' / path.name.removeprefix('dist_').replace('.sh', '.py')
        text = path.read_text()
        for option in words:
            if re.fullmatch(r'--[a-z][a-z-]*(=.*)?', option):
                option = option.split('=')[0]
                spelled = option in text or option[2:].replace('-', '_') in text
                assert spelled, f'{page.name}: {name} has no option {option}'


def test_the_pages_hold_commands():
    assert sum(len(commands(page)) for page in PAGES) > 40
