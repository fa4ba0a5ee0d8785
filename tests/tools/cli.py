"""Runs a tool as a user does: inside this process, which is quick, or as one of its own."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]


class Done(NamedTuple):
    """Exit status and what was printed."""

    status: int
    out: str
    err: str


def run_inside(monkeypatch, capsys, tool: str, *arguments) -> Done:
    """Call a tool's main() in this process."""
    spec = importlib.util.spec_from_file_location(f'tool_{tool}', ROOT / f'tools/{tool}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, 'argv', [f'{tool}.py', *map(str, arguments)])
    capsys.readouterr()
    status = 0
    workers = signal.getsignal(signal.SIGCHLD)
    try:
        status = module.main() or 0
    except SystemExit as end:
        status = end.code or 0
    finally:
        signal.signal(signal.SIGCHLD, workers)  # the end of a tool is that of a process
    return Done(status, *capsys.readouterr())


def run_alone(command: list, cwd: Path, **environment) -> Done:
    """Run a command as a process of its own, from a folder that is not the checkout."""
    variables = os.environ | {'OMP_NUM_THREADS': '1', 'PYTHON': sys.executable} | environment
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=variables, capture_output=True, text=True, check=False
    )
    return Done(done.returncode, done.stdout, done.stderr)


def copy_sources(folder: Path) -> None:
    """Copy what a source distribution holds, symbolic links as they are."""
    folder.mkdir()
    for name in ('setup.py', 'MANIFEST.in', 'LICENSE', 'Makefile', 'ruff.toml', 'CITATION.cff'):
        shutil.copy(ROOT / name, folder)
    for path in (file for kind in ('txt', 'md', 'ini', 'yml') for file in ROOT.glob(f'*.{kind}')):
        shutil.copy(path, folder)
    for name in ('configs', 'docs', 'rankdet', 'tests', 'tools'):
        ignored = shutil.ignore_patterns('__pycache__', '_build')
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=ignored)
