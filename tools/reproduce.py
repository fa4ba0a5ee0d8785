"""Reproduce the papers' tables: train and test what a row needs, show it beside the paper's.

    python tools/reproduce.py list                            # papers, tables, rows, data
    python tools/reproduce.py list ap_loss
    python tools/reproduce.py show ap_loss/table-1-delta      # the paper's numbers beside ours
    python tools/reproduce.py show dr_loss --format csv
    python tools/reproduce.py show digits                     # a table of ours, with results
    python tools/reproduce.py run digits --work-dir mine      # on a CPU; makes its data
    python tools/reproduce.py run ap_loss/table-1-delta/0.25 --gpus 2
    python tools/reproduce.py run table-1-delta --record      # all its rows; results into the table
    python tools/reproduce.py run all --smoke                 # every row for two tiny iterations
    python tools/reproduce.py record dr_loss/table-4/r101 AP=41.7 AP50=60.9    # from a server
    python tools/reproduce.py estimate ap_loss/table-1-delta/0.25

A row is <folder>/<table>/<row>; a table stands for its rows, a folder of configs/ for its tables,
and "all" for everything. Configs are Python code: run only those you trust.
"""

import argparse
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rankdet.engine.errors import UserError, one_line_errors

ROOT = Path(__file__).resolve().parent.parent
WORK_DIR = 'work_dirs/reproduce'
TARGETS = 'rows, tables, folders of configs/, or all'


def parse_args() -> argparse.Namespace:
    style: dict[str, Any] = dict(formatter_class=argparse.RawDescriptionHelpFormatter)
    parser = argparse.ArgumentParser(description=__doc__, **style)
    parser.add_argument('--configs', type=Path, help=argparse.SUPPRESS)
    commands = parser.add_subparsers(dest='command', required=True)

    listing = commands.add_parser(
        'list',
        help='papers, tables, rows and their data',
        description='What there is, and what the tables have a result of. run goes by the results '
        'in its own WORK_DIR alone, so that it measures anew what is only in a table.',
    )
    listing.add_argument('target', nargs='?', default='all', help='table or folder (all)')

    show = commands.add_parser('show', help="the paper's numbers beside ours")
    show.add_argument('target', help='table, folder or all')
    show.add_argument('--format', choices=('markdown', 'csv', 'json'), default='markdown')

    run = commands.add_parser(
        'run',
        help='train and test what is missing',
        description=_RUN,
        **style,
    )
    run.add_argument('targets', nargs='+', metavar='TABLE|ROW', help=TARGETS)
    run.add_argument('--gpus', type=int, help='processes on this node (default: the GPUs here)')
    run.add_argument('--record', action='store_true', help='put results into the tables')
    run.add_argument('--again', action='store_true', help='test anew what has a result')
    run.add_argument('--smoke', action='store_true', help='two iterations on tiny data, on a CPU')
    run.add_argument('--out', type=Path, help='record of --smoke (WORK_DIR/smoke.jsonl)')

    record = commands.add_parser(
        'record',
        help='put a result into the tables',
        description='Put the result of a row into its metafile.yml and the README beside it: that '
        "of its last run, or the numbers that a server gave, in percent, for the last run's "
        'archive.',
    )
    record.add_argument('row', help='address of a row')
    record.add_argument('numbers', nargs='*', metavar='COLUMN=NUMBER', help="a server's numbers")

    estimate = commands.add_parser('estimate', help='iterations, memory and time of a training')
    estimate.add_argument('row', help='address of a row')
    estimate.add_argument('--format', choices=('text', 'json'), default='text')

    for command in (show, run, record):
        command.add_argument('--work-dir', type=Path, default=Path(WORK_DIR), help='%(default)s')
    return parser.parse_args()


_RUN = """Train and test what is missing, after a check of the data.

    python tools/reproduce.py run ap_loss/table-2-ssd-voc --gpus 2
    NNODES=2 NODE_RANK=0 MASTER_ADDR=10.0.0.1 python tools/reproduce.py run dr_loss --gpus 4
    python tools/reproduce.py run alrp_loss --smoke

What has a result in WORK_DIR is not run again, whatever the tables say. Rows that share a training
share it here; the same command goes on after an interruption. With another batch than the config's
the learning rate is scaled, and a count of iterations with its steps. Several nodes need one
WORK_DIR. With BACKBONES=none a training is another one, and has no place in a paper's table.
"""


def main() -> int:
    args = parse_args()
    configs = args.configs or ROOT / 'configs'
    status = 1
    with one_line_errors():  # which leaves by sys.exit
        import rankdet.plugin  # noqa: F401, before any import of MMDetection
        from rankdet.analysis.paper_tables import read_papers

        status = _COMMANDS[args.command](args, read_papers(configs)) or 0
    return status


def _list(args: argparse.Namespace, papers: list) -> None:
    from rankdet.analysis.paper_tables import find_tables
    from rankdet.analysis.reproduce.listing import list_tables

    print(list_tables(find_tables(papers, args.target)))


def _show(args: argparse.Namespace, papers: list) -> None:
    from rankdet.analysis.paper_tables import find_tables, with_results
    from rankdet.analysis.reproduce.records import as_ours, read_results
    from rankdet.analysis.reproduce.run import results_file
    from rankdet.analysis.reproduce.show import format_tables

    results = read_results(results_file(args.work_dir))
    ours = {address: as_ours(entry) for address, entry in results.items() if entry['metrics']}
    tables = [with_results(table, ours) for table in find_tables(papers, args.target)]
    print(format_tables(tables, args.format))


def _run(args: argparse.Namespace, papers: list) -> int:
    from rankdet.analysis.paper_tables import find_rows

    rows = find_rows(papers, args.targets)
    return _smoke(args, rows) if args.smoke else _train(args, rows)


def _train(args: argparse.Namespace, rows: list) -> int:
    from rankdet.analysis.reproduce.commands import interrupted_by_sigterm
    from rankdet.analysis.reproduce.run import RunOptions, run_rows, summary

    options = RunOptions(_root(args), args.work_dir, args.gpus, args.record, args.again)
    try:
        with interrupted_by_sigterm():
            outcomes = run_rows(rows, options)
    except KeyboardInterrupt as stop:
        print('\ninterrupted; the same command goes on', file=sys.stderr)
        return 128 + getattr(stop, 'number', signal.SIGINT)
    print(f'\n{summary(outcomes)}')
    return int(any(outcome.state == 'failed' for outcome in outcomes))


def _smoke(args: argparse.Namespace, rows: list) -> int:
    from rankdet.analysis.reproduce.plan import plan
    from rankdet.analysis.reproduce.smoke import progress, smoke_all

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # in order: temporary files go
    out = args.out or args.work_dir / 'smoke.jsonl'
    total = len(plan(rows))
    if not total:
        raise UserError('the paper only quotes these rows; there is nothing to run')
    states: list[str] = []

    def lines() -> Iterator[dict]:
        for line in smoke_all(rows, _root(args), out):
            states.append(line['state'])
            yield line

    for text in progress(lines(), total):
        print(text, flush=True)
    failed = states.count('failed')
    print(f'{total} trainings, {failed} failed; recorded in {out}')
    return int(failed > 0)


def _record(args: argparse.Namespace, papers: list) -> None:
    from rankdet.analysis.paper_tables import find_rows
    from rankdet.analysis.reproduce.run import record_row

    (row, *others) = find_rows(papers, [args.row])
    if others:
        raise UserError(f'record takes one row, and {args.row} has {1 + len(others)}')
    print(record_row(row, args.numbers, _root(args), args.work_dir))


def _estimate(args: argparse.Namespace, papers: list) -> None:
    from rankdet.analysis.paper_tables import find_rows
    from rankdet.analysis.reproduce.estimate import as_text, estimate

    (row, *others) = find_rows(papers, [args.row])
    if others:
        raise UserError(f'estimate takes one row, and {args.row} has {1 + len(others)}')
    print(as_text(estimate(row, _root(args)), args.format))


def _root(args: argparse.Namespace) -> Path:
    return args.configs.resolve().parent if args.configs else ROOT


_COMMANDS = dict(list=_list, show=_show, run=_run, record=_record, estimate=_estimate)

if __name__ == '__main__':
    sys.exit(main())
