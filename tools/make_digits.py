"""Make the data set of digit scenes: real handwritten digits in clutter, in COCO format.

    python tools/make_digits.py                               # data/digits: 3200 + 200 scenes
    python tools/make_digits.py --out data/many --train 20000 --val 2000
    python tools/make_digits.py --out data/wide --size 320 --seed 7

A second run with the same options returns at once.
"""

from __future__ import annotations

import argparse
import os

from rankdet.datasets.digits import make_digits
from rankdet.engine.errors import one_line_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--out', default='data/digits', help='folder to make (%(default)s)')
    parser.add_argument('--train', type=int, default=3200, help='training scenes (%(default)s)')
    parser.add_argument('--val', type=int, default=200, help='validation scenes (%(default)s)')
    parser.add_argument('--size', type=int, default=160, help='pixels a side (%(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='same seed, same bytes (%(default)s)')
    parser.add_argument(
        '--workers', type=int, default=os.cpu_count() or 1, help='processes (%(default)s)'
    )
    parser.add_argument(
        '--overwrite', action='store_true', help='replace digit scenes of other options'
    )
    return parser.parse_args()


def show_progress(split: str, done: int, total: int) -> None:
    if done % 400 == 0 or done == total:
        print(f'{split}: {done}/{total} scenes', flush=True)


def main() -> None:
    args = parse_args()
    with one_line_errors():
        out = make_digits(
            args.out,
            num_train=args.train,
            num_val=args.val,
            size=args.size,
            seed=args.seed,
            overwrite=args.overwrite,
            workers=args.workers,
            progress=show_progress,
        )
        print(f'digit scenes in {out}')


if __name__ == '__main__':
    main()
