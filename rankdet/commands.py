"""The tools, and the command lines that messages name: such as work where the reader is."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

#: Set by the command ``rankdet``, for the tool and for all processes that it starts.
STARTED_AS = 'RANKDET_STARTED_AS'
#: How a run that was interrupted goes on: set for a training that another command starts.
GO_ON = 'RANKDET_GO_ON'
SAME_COMMAND = 'call the same command again to go on'
#: The files of ``tools/``, which an installed package carries along with the configs.
TOOLS = Path(__file__).resolve().parent / '.mim/tools'


def tool_files() -> dict[str, Path]:
    """The tools that run from anywhere, by name; the others of ``tools/`` need a checkout."""
    kinds = ('*.py', 'dataset_converters/*.py', 'dist_*.sh')
    return {path.stem: path for kind in kinds for path in sorted(TOOLS.glob(kind))}


def tool_line(tool: str, *arguments: object) -> str:
    """The line that runs a tool, quoted for a shell.

    ``python tools/TOOL.py`` for whoever works in a checkout, as long as its tools were not started
    by the command ``rankdet``; else ``rankdet TOOL``, which an installed package brings.

    Args:
        tool: its file, without the suffix, as a path within ``tools/``.
        arguments: of the tool.
    """
    file = f'{tool}.py'
    in_checkout = Path('tools', file).resolve() == (TOOLS / file).resolve()
    if STARTED_AS in os.environ or not in_checkout:
        words = ['rankdet', Path(tool).name]
    else:
        words = ['python', f'tools/{file}']
    return shlex.join([*words, *map(str, arguments)])


def how_to_go_on() -> str:
    """What a training says of how it goes on: the command that a user typed decides that."""
    return os.environ.get(GO_ON, 'continue with --resume')
