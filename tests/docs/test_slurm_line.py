"""The page's Slurm line starts one torchrun a node, of one job; no cluster is needed to see it."""

import os
import re

import pytest
from torch.distributed.run import get_args_parser

from tests.tools import cli

PAGE = (cli.ROOT / 'docs/distributed.md').read_text(encoding='utf-8')
#: Runs its command once for each node, as a task of a job; refuses options it does not know.
SRUN = """#!/bin/sh
while case $1 in -*) ;; *) false ;; esac; do
    case $1 in
        --nodes=*) nodes=${1#*=} ;;
        --ntasks-per-node=*) tasks=${1#*=} ;;
        *) echo "srun: unknown option $1" >&2; exit 2 ;;
    esac
    shift
done
export SLURM_NNODES=$nodes SLURM_NTASKS=$((nodes * tasks)) SLURM_JOB_NODELIST='gpu[07-08]'
for node in $(seq 0 $((nodes - 1))); do
    for task in $(seq "$tasks"); do SLURM_NODEID=$node "$@" || exit; done
done
"""
SCONTROL = """#!/bin/sh
[ "$*" = 'show hostnames gpu[07-08]' ] || { echo "scontrol: $*" >&2; exit 1; }
printf 'gpu07\\ngpu08\\n'
"""
#: Stands for ``python -m rankdet.engine.torchrun``; a second one on a node would be seen.
PYTHON = """#!/bin/sh
printf '%s\\n' "$@" >> "$RECORDS/node$SLURM_NODEID"
"""


def slurm_lines():
    blocks = re.findall(r'```sh\n(.*?)```', PAGE, re.DOTALL)
    return [block for block in blocks if 'srun' in block]


@pytest.fixture
def nodes(tmp_path):
    """Runs a command line where the cluster's programs are stand-ins; what each node was given."""
    programs, records = tmp_path / 'bin', tmp_path / 'records'
    programs.mkdir()
    records.mkdir()
    for name, text in dict(srun=SRUN, scontrol=SCONTROL, python=PYTHON).items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)

    def run(line):
        done = cli.run_alone(
            ['bash', '-c', line],
            cli.ROOT,  # the page's commands are typed there; nothing is written into it
            PATH=f'{programs}{os.pathsep}{os.environ["PATH"]}',
            PYTHON='python',
            RECORDS=str(records),
        )
        assert done.status == 0, done.err
        return [path.read_text().splitlines() for path in sorted(records.glob('node*'))]

    return run


def check(given):
    assert len(given) == 2
    for rank, words in enumerate(given):
        assert words[:2] == ['-m', 'rankdet.engine.torchrun']
        # torchrun's own parser says what the words mean.
        read = get_args_parser().parse_args(words[2:])
        assert (read.nnodes, read.node_rank, read.nproc_per_node) == ('2', rank, '8')
        assert (read.master_addr, read.master_port) == ('gpu07', 29500)  # the first, on both
        assert (cli.ROOT / read.training_script).samefile(cli.ROOT / 'tools/train.py')
        assert read.training_script_args == ['CONFIG', '--launcher', 'pytorch']


def test_what_each_node_is_given(nodes):
    (line,) = slurm_lines()
    check(nodes(line))


@pytest.mark.parametrize(
    'right, wrong',
    [
        ('NODE_RANK=$SLURM_NODEID', 'NODE_RANK=0'),
        ('head -n 1', 'tail -n 1'),
        ('--ntasks-per-node=1', '--ntasks-per-node=8'),
        ('NNODES=$SLURM_NNODES', ''),
    ],
)
def test_a_wrong_line_is_noticed(nodes, right, wrong):
    (line,) = slurm_lines()
    assert right in line
    given = nodes(line.replace(right, wrong))
    with pytest.raises(AssertionError):
        check(given)
