"""One page about one or several trainings, to send to a colleague.

    python tools/report.py work_dirs/mine
    python tools/report.py work_dirs/ap work_dirs/focal --out comparison.html --title 'AP and focal'
    python tools/report.py work_dirs/mine --include work_dirs/robustness/robustness.json

The newest checkpoint of each run is tested. The page has metrics, curves, analyses, the best and
the worst images and the configs inside it and needs no other file and no network.

Configs are Python code: report only on runs of those you trust.
"""

from __future__ import annotations

import argparse

from rankdet.engine.errors import one_line_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('runs', nargs='+', help='folders of trainings, or checkpoints in them')
    parser.add_argument('--out', default='work_dirs/report.html', help='(%(default)s)')
    parser.add_argument('--config', help='config of all runs, if it is not beside them')
    parser.add_argument('--labels', nargs='+', help='one a run; default: names of their losses')
    parser.add_argument('--title', default='Detectors compared', help='(%(default)s)')
    parser.add_argument(
        '--pictures', type=int, default=6, help='best and worst images each (%(default)s)'
    )
    parser.add_argument('--images', type=int, help='for scatter and densities; default: all')
    parser.add_argument('--device', help='for the analyses; default: a GPU if there is one')
    parser.add_argument(
        '--include',
        nargs='+',
        default=[],
        metavar='FILE',
        help='results that are there: .json files of the tools analyze and robustness',
    )
    return parser.parse_args()


def main() -> None:
    options = vars(parse_args())
    with one_line_errors():
        from rankdet.analysis.report import build_report

        runs, out = options.pop('runs'), options.pop('out')
        written = build_report(runs, out, **options, report=lambda line: print(line, flush=True))
        print(f'{written} ({written.stat().st_size / 1e6:.1f} MB)')


if __name__ == '__main__':
    main()
