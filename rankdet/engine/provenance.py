"""What a number depends on beside its config: the code, the packages, the machine."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import torch

_PACKAGES = (
    *('torch', 'torchvision', 'onedl-mmengine', 'mmengine', 'onedl-mmcv', 'mmcv', 'mmcv-lite'),
    *('onedl-mmdetection', 'mmdet', 'rankdet'),
)


class GitState(NamedTuple):
    """A repository as it is now.

    Attributes:
        folder: its top.
        commit: first 12 digits.
        changed: lines of ``git status --porcelain``, files that git does not know included.
    """

    folder: str
    commit: str
    changed: list[str]


def git_state(folder: Path, *without: str) -> GitState | None:
    """The repository that a folder lies in; None without one, without commits, or without git.

    Args:
        folder: any folder.
        without: patterns of files in it whose changes do not count.
    """

    def git(*arguments: str) -> str | None:
        # Of a folder from elsewhere, fsmonitor would be a command to run.
        options = ['--no-optional-locks', '-C', str(folder), '-c', 'core.fsmonitor=false']
        done = subprocess.run(
            ['git', *options, *arguments], capture_output=True, text=True, check=False
        )
        return done.stdout.rstrip() if done.returncode == 0 else None

    try:
        top, found = git('rev-parse', '--show-toplevel'), git('rev-parse', '--short=12', 'HEAD')
        if top is None or found is None:
            return None
        patterns = [f':(exclude){pattern}' for pattern in without]
        changed = git('status', '--porcelain', '--', '.' if without else ':/', *patterns)
    except FileNotFoundError:  # no git
        return None
    return GitState(top, found, (changed or '').splitlines())


def commit(root: Path) -> str:
    """The commit of the code, marked where files differ from it.

    Records, metafiles and the READMEs beside them do not count: recording a result changes them,
    and no result depends on them.
    """
    found = git_state(root, 'configs/*/metafile.yml', 'configs/*/README.md', 'docs/records')
    if found is None:
        return 'unknown'
    return f'{found.commit}-dirty' if found.changed else found.commit


def versions() -> dict[str, str]:
    """Of Python and of the packages that take part."""
    found = {'python': platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def device(processes: int) -> str:
    """What the processes run on, all nodes together."""
    if not torch.cuda.is_available():
        threads = torch.get_num_threads()  # their number changes the order of sums
        return f'CPU ({cpu_name()}), {_count(processes, "process")} of {_count(threads, "thread")}'
    if torch.cuda.is_initialized():
        return f'{processes} x {torch.cuda.get_device_name()}'
    # A process of its own: asking a GPU for its name takes hundreds of megabytes of it.
    code = 'import torch; print(torch.cuda.get_device_name(0))'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=False)
    return f'{processes} x {done.stdout.strip() or "GPU"}'


def _count(number: int, what: str) -> str:
    plural = 'es' if what.endswith('s') else 's'
    return f'{number} {what}{plural if number > 1 else ""}'


def cpu_name() -> str:
    try:
        found = re.search(r'^model name\s*:\s*(.+)$', Path('/proc/cpuinfo').read_text(), re.M)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()
