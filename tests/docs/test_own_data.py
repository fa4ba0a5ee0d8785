"""Commands on the page are made of tools and options that there are."""

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / 'docs/own_data.md').read_text(encoding='utf-8').replace('\\\n', ' ')
COMMANDS = re.findall(r'^(?:\w+=\S+ )?python (tools/\S+\.py)(.*?)(?:#.*)?$', TEXT, re.MULTILINE)


@cache
def help_of(tool: str) -> str:
    done = subprocess.run([sys.executable, ROOT / tool, '--help'], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize('tool', sorted({tool for tool, _ in COMMANDS}))
def test_its_commands(tool):
    for other, rest in COMMANDS:
        if other == tool:
            missing = [o for o in re.findall(r'--[\w-]+', rest) if o not in help_of(tool)]
            assert not missing, f'{tool} has no {missing}'


def test_its_options():
    named = set(re.findall(r'`(--[\w-]+)`', TEXT))
    assert len(named) >= 6 and all(option in help_of('tools/train_own.py') for option in named)
    assert len(COMMANDS) >= 8
