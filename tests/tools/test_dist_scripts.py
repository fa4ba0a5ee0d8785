"""What the launching scripts hand to the launcher, on one node and on several."""

import os
import sys
from pathlib import Path

import pytest

from tests.tools import cli

STUB = """#!/bin/sh
printf '%s\\n' "$@"
"""
SINGLE = ['--nnodes=1', '--node_rank=0', '--master_addr=127.0.0.1', '--master_port=29500']
NODES = dict(NNODES='3', NODE_RANK='2', MASTER_ADDR='10.0.0.1', PORT='29700')
SEVERAL = ['--nnodes=3', '--node_rank=2', '--master_addr=10.0.0.1', '--master_port=29700']


@pytest.fixture
def stub(tmp_path):
    """A folder whose ``python`` prints its arguments, one a line."""
    path = tmp_path / 'bin/python'
    path.parent.mkdir()
    path.write_text(STUB)
    path.chmod(0o755)
    return path.parent


@pytest.mark.parametrize('environment, expected', [({}, SINGLE), (NODES, SEVERAL)])
@pytest.mark.parametrize('installed', [False, True])
@pytest.mark.parametrize('tool', ['train', 'test'])
def test_nodes(stub, tmp_path, tool, installed, environment, expected):
    script = ['bash', cli.ROOT / f'tools/dist_{tool}.sh']
    if installed:
        script = [sys.executable, '-m', 'rankdet', f'dist_{tool}']
    positional = ['config.py'] if tool == 'train' else ['config.py', 'a file.pth']
    options = ['--cfg-options', 'a.b=[1,2]', 'c=x y']
    done = cli.run_alone(
        [*script, *positional, '8', *options],
        tmp_path,
        PATH=f'{stub}{os.pathsep}{os.environ["PATH"]}',
        PYTHON='python',
        **environment,
    )
    assert done.status == 0, done.err
    said = done.out.splitlines()
    program = next(i for i, word in enumerate(said) if word.endswith(f'tools/{tool}.py'))
    assert Path(said[program]).samefile(cli.ROOT / f'tools/{tool}.py')
    assert said[0] == '-m' and sorted(said[2:program]) == sorted([*expected, '--nproc_per_node=8'])
    assert said[program + 1 :] == [*positional, '--launcher', 'pytorch', *options]
