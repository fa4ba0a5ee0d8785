"""Check a data set before hours of training: what is missing, and which archive holds it.

    python tools/check_data.py data/VOCdevkit
    python tools/check_data.py data/coco --decode
    python tools/check_data.py CONFIG
    python tools/check_data.py data/tiny/coco --subset

Looks at the layout, image counts, missing and empty files, class names and boxes, and reads the
header of every image: is it one, and has it the size of the annotations? With --decode every image
is decoded to its last pixel. The report says what was looked at. The exit status is 1 if something
would stop a training or the evaluation, or if images of the official lists are missing: --subset
allows data that was made small on purpose.

Configs are Python code: use only those you trust (tools/read_config.py shows one unrun).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from rankdet.datasets.check import check_folder
from rankdet.datasets.check_report import CheckReport
from rankdet.evaluation.progress import StderrProgress


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('target', help='folder of VOCdevkit or COCO, or a config file')
    parser.add_argument(
        '--decode', action='store_true', help='decode every image, not only its header (minutes)'
    )
    parser.add_argument(
        '--subset', action='store_true', help='fewer images than the official number are no error'
    )
    parser.add_argument('--workers', type=int, help='threads that open images')
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    check: Callable[..., CheckReport] = check_folder
    if args.target.endswith('.py'):
        import rankdet.plugin  # noqa: F401 - first: see there
        from rankdet.analysis.data_check import check_config

        check = check_config
    try:
        with StderrProgress() as progress:
            report = check(
                args.target,
                decode=args.decode,
                subset=args.subset,
                workers=args.workers,
                progress=progress,
            )
    except (OSError, ValueError) as error:
        print(f'check_data: {error}', file=sys.stderr)
        return 1
    print(report.text())
    if report.opened and not args.decode:
        print('Images were opened, not decoded: damage in their pixels shows with --decode.')
    return 0 if report.ok else 1


if __name__ == '__main__':
    sys.exit(main())
