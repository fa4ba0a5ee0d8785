"""Train a small detector by ranking on data that this makes itself, and show what it learnt.

    python tools/demo.py                      # AP Loss, into work_dirs/demo
    python tools/demo.py --loss focal         # the same with focal loss, into work_dirs/demo-focal
    python tools/demo.py --train 48 --val 16 --epochs 1 --data data/tiny --work-dir work_dirs/tiny

A second call goes on where the first one was interrupted, or shows what it left.
"""

import argparse
from pathlib import Path

from rankdet.commands import SAME_COMMAND
from rankdet.engine.errors import one_line_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--loss', choices=['ap', 'focal'], default='ap')
    parser.add_argument('--train', type=int, default=3200, help='training scenes (%(default)s)')
    parser.add_argument('--val', type=int, default=200, help='held-out scenes (%(default)s)')
    parser.add_argument('--epochs', type=int, help='default: those of the config')
    parser.add_argument('--data', default='data/digits', help='where the scenes go (%(default)s)')
    parser.add_argument('--work-dir', help='default: work_dirs/demo or work_dirs/demo-LOSS')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    work_dir = args.work_dir or 'work_dirs/demo' + ('' if args.loss == 'ap' else f'-{args.loss}')
    with one_line_errors(SAME_COMMAND):
        from rankdet.analysis.demo import DemoOptions, as_text, run_demo
        from rankdet.analysis.reproduce.commands import interrupted_by_sigterm

        options = DemoOptions(args.loss, args.train, args.val, args.epochs, args.data)
        with interrupted_by_sigterm():
            summary = run_demo(options, work_dir, Path(__file__).resolve().parent.parent)
        print('\n' + as_text(summary), end='')


if __name__ == '__main__':
    main()
