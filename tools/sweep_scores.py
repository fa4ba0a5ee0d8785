"""One saved result measured at several score thresholds, as in Table 5 of the DR Loss paper.

    python tools/test.py CONFIG CHECKPOINT --cfg-options model.test_cfg.score_thr=0.05 \\
        --save-results dr
    python tools/sweep_scores.py instances_val2017.json dr.bbox.json
    python tools/sweep_scores.py ANN RESULT --thresholds 0.05 0.1 0.2 --style markdown

The result must have been saved with a threshold no higher than the lowest one of the sweep.
"""

from __future__ import annotations

import argparse
import sys
import warnings

from rankdet.evaluation import sweep_score_thresholds
from rankdet.evaluation.progress import StderrProgress
from rankdet.evaluation.report import SWEEP_THRESHOLDS
from rankdet.evaluation.table import FORMATS, format_table

#: The columns of the paper, and oLRP.
SHOWN = ('AP', 'AP50', 'AP75', 'AP_S', 'AP_M', 'AP_L', 'oLRP')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('annotations', help='ground truth in COCO format')
    parser.add_argument('result', help='result file, a list in COCO format')
    parser.add_argument('--thresholds', type=float, nargs='+', default=list(SWEEP_THRESHOLDS))
    parser.add_argument('--style', choices=FORMATS, default='text')
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    warnings.formatwarning = lambda message, *_, **__: f'note: {message}\n'
    try:
        with StderrProgress() as progress:
            found = sweep_score_thresholds(
                args.annotations, args.result, args.thresholds, progress=progress
            )
    except (ValueError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    rows = {}
    for threshold, evaluation in found.items():
        summary = evaluation.summary()
        rows[f'> {threshold:g}'] = {name: summary[name] for name in SHOWN}
    print(format_table(rows, style=args.style, by_row=True))
    return 0


if __name__ == '__main__':
    sys.exit(main())
