"""Every measure of the papers for saved COCO result files, side by side in one table.

    python tools/eval_results.py instances_val2017.json ap.bbox.json alrp.bbox.json
    python tools/eval_results.py ANN RESULT --style markdown --classwise --tau 0.75
    python tools/eval_results.py voc07_test.json RESULT --voc

AP, AP50, AP75, AP90, AP and AR by size and number, oLRP with its components, rank correlation rho,
and lower/ and upper/: the AP if localisation ranked inversely or exactly as the scores do.

With --style csv and --classwise there is one table with a row for each result and for each of its
classes. A result file that cannot be used is named; the others are measured, and the exit status
is 1.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rankdet.evaluation import Evaluation, evaluate, load_ground_truth
from rankdet.evaluation.average_precision import check_max_dets
from rankdet.evaluation.lrp import check_tau
from rankdet.evaluation.progress import StderrProgress
from rankdet.evaluation.report import load_pair, notes
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
    try:
        check_tau(args.tau), check_max_dets(args.max_dets)
    except ValueError as error:
        parser.error(f'--{str(error).replace("_", "-")}')
    return args


def column_titles(results: list[str]) -> list[str]:
    """File names, or whole paths where those are not all different."""
    names = [Path(result).name.removesuffix('.json').removesuffix('.bbox') for result in results]
    return names if len(set(names)) == len(names) else results


def main() -> int:
    args = parse_args()
    found, failed = {}, False
    try:
        with StderrProgress() as progress:
            progress('reading ground truth', 0, 1)
            gt = load_ground_truth(args.annotations)
    except (ValueError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    for name, result in zip(args.names, args.results):
        try:
            with StderrProgress(name) as progress:
                _, dt = load_pair(gt, result, progress)
                found[name] = evaluate(
                    gt,
                    dt,
                    tau=args.tau,
                    max_dets=args.max_dets,
                    bounds=not args.no_bounds,
                    voc=args.voc,
                    progress=progress,
                )
        except (ValueError, OSError) as error:
            print(f'error: {error}', file=sys.stderr)
            failed = True
            continue
        for note in notes(gt, dt):
            print(f'note: {result}: {note}', file=sys.stderr)
    if found:
        print(_tables(found, args.style, args.classwise))
    return int(failed)


def _tables(found: dict[str, Evaluation], style: str, classwise: bool) -> str:
    """What was measured; in JSON and CSV everything is one document."""
    summaries = {name: evaluation.summary() for name, evaluation in found.items()}
    if not classwise:
        return format_table(summaries, style=style)
    classes = {name: evaluation.per_class() for name, evaluation in found.items()}
    if style == 'json':
        return to_json({name: {**summaries[name], 'classes': classes[name]} for name in found})
    if style == 'csv':
        rows = {}
        for name in found:
            rows[name] = summaries[name]
            rows |= {f'{name}/{label}': values for label, values in classes[name].items()}
        return format_table(rows, style=style, by_row=True)
    tables = [format_table(summaries, style=style)]
    tables += [f'\n{n}\n{format_table(c, style=style, by_row=True)}' for n, c in classes.items()]
    return '\n'.join(tables)


if __name__ == '__main__':
    sys.exit(main())
