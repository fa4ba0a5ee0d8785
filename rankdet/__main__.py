"""Run a tool from anywhere: ``rankdet train CONFIG``, or ``python -m rankdet train CONFIG``.

The tools are the files of ``tools/``, which an installed package carries along with the configs.
"""

from __future__ import annotations

import ast
import runpy
import sys
from pathlib import Path

TOOLS = Path(__file__).resolve().parent / '.mim/tools'


def main() -> int:
    """Run the tool that the first argument names; the others are its own."""
    tools = {path.stem: path for path in sorted(TOOLS.glob('*.py'))}
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
    runpy.run_path(sys.argv[0], run_name='__main__')
    return 0


def describe(tools: dict[str, Path]) -> str:
    """A line for each tool: the first of its docstring."""
    width = max(map(len, tools))
    firsts = {
        name: (ast.get_docstring(ast.parse(path.read_text(encoding='utf-8'))) or '').split('\n')[0]
        for name, path in tools.items()
    }
    return '\n'.join(f'  {name:{width}}  {first}' for name, first in firsts.items())


if __name__ == '__main__':
    sys.exit(main())
