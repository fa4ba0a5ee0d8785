"""Every measure of the papers for saved COCO result files, side by side in one table.

    python tools/eval_results.py instances_val2017.json ap.bbox.json alrp.bbox.json
    python tools/eval_results.py ANN RESULT --style markdown --classwise --tau 0.75
    python tools/eval_results.py voc07_test.json RESULT --voc

AP, AP50, AP75, AP90, AP and AR by size and number, oLRP with its components, rank correlation rho,
and lower/ and upper/: the AP if localisation ranked inversely or exactly as the scores do.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rankdet.evaluation import evaluate
from rankdet.evaluation.progress import StderrProgress
from rankdet.evaluation.report import load_pair
from rankdet.evaluation.table import FORMATS, format_table, to_json


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('annotations', help='ground truth in COCO format')
    parser.add_argument('results', nargs='+', help='result files, lists in COCO format')
    parser.add_argument('--names', nargs='+', help='column titles; default: the file names')
    parser.add_argument('--tau', type=float, default=0.5, help='IoU of oLRP (%(default)s)')
    parser.add_argument(
        '--max-dets',
        type=int,
        nargs='+',
        default=[1, 10, 100],
        help='detections per image and class, the last for all but AR (%(default)s)',
    )
    parser.add_argument('--no-bounds', action='store_true', help='leave lower/ and upper/ out')
    parser.add_argument('--voc', action='store_true', help="add VOC's own AP50; crowd = difficult")
    parser.add_argument('--classwise', action='store_true', help='add a table of classes each')
    parser.add_argument('--style', choices=FORMATS, default='text')
    args = parser.parse_args()
    args.names = args.names or column_titles(args.results)
    if len(args.names) != len(args.results) or len(set(args.names)) < len(args.names):
        parser.error(f'--names must be {len(args.results)} different names, got {args.names}')
    return args


def column_titles(results: list[str]) -> list[str]:
    """File names, or whole paths where those are not all different."""
    names = [Path(result).name.removesuffix('.json').removesuffix('.bbox') for result in results]
    return names if len(set(names)) == len(names) else results


def main() -> int:
    args = parse_args()
    found = {}
    try:
        gt = args.annotations
        for name, result in zip(args.names, args.results):
            with StderrProgress(name) as progress:
                gt, dt = load_pair(gt, result, progress)
                found[name] = evaluate(
                    gt,
                    dt,
                    tau=args.tau,
                    max_dets=args.max_dets,
                    bounds=not args.no_bounds,
                    voc=args.voc,
                    progress=progress,
                )
            if not len(dt):
                print(f'note: {result} is empty: nothing was detected', file=sys.stderr)
    except (ValueError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    if args.style == 'json' and args.classwise:
        print(to_json({n: {**f.summary(), 'classes': f.per_class()} for n, f in found.items()}))
        return 0
    print(format_table({n: f.summary() for n, f in found.items()}, style=args.style))
    if args.classwise:
        for name, evaluation in found.items():
            print(f'\n{name}')
            print(format_table(evaluation.per_class(), style=args.style, by_row=True))
    return 0


if __name__ == '__main__':
    sys.exit(main())
