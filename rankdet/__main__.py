"""Run a tool from anywhere: ``rankdet train CONFIG``, or ``python -m rankdet train CONFIG``."""

from __future__ import annotations

import ast
import os
import runpy
import sys
from pathlib import Path

from rankdet.commands import STARTED_AS, tool_files


def main() -> int:
    """Run the tool that the first argument names; the others are its own."""
    tools = tool_files()
    name = sys.argv[1] if len(sys.argv) > 1 else '--help'
    if name in ('-h', '--help'):
        print(f'usage: rankdet TOOL [arguments]\n\n{describe(tools)}')
        print('\nrankdet TOOL --help says more; rankdet --version says which one this is.')
        return 0
    if name == '--version':
        print(f'rankdet {sys.modules["rankdet"].__version__} ({Path(__file__).resolve().parent})')
        return 0
    if name not in tools:
        print(f'error: there is no tool {name!r}; there are: {", ".join(tools)}', file=sys.stderr)
        return 2
    sys.argv[:2] = [str(tools[name])]
    os.environ[STARTED_AS] = f'rankdet {name}'
    if tools[name].suffix == '.sh':
        os.environ['PYTHON'] = os.environ.get('PYTHON') or sys.executable
        sys.stdout.flush()
        os.execvp('bash', ['bash', *sys.argv])  # signals and status are the script's
    else:
        runpy.run_path(sys.argv[0], run_name='__main__')
    return 0


def describe(tools: dict[str, Path]) -> str:
    """A line for each tool: the first of its docstring, or of a script's comment."""
    width = max(map(len, tools))
    return '\n'.join(f'  {name:{width}}  {_first_line(path)}' for name, path in tools.items())


def _first_line(path: Path) -> str:
    text = path.read_text(encoding='utf-8')
    if path.suffix == '.sh':
        return text.splitlines()[1].removeprefix('# ')  # below the line that names bash
    return (ast.get_docstring(ast.parse(text)) or '').split('\n')[0]


if __name__ == '__main__':
    sys.exit(main())
