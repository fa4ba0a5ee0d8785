"""Convert your own data (VOC XML, COCO JSON or YOLO text) to one folder in COCO's format.

    python tools/dataset_converters/to_coco.py path/to/data --out data/mine
    python tools/dataset_converters/to_coco.py path/to/data                 # only checks
    python tools/dataset_converters/to_coco.py path/to/data --out data/mine --skip-bad

The format, the class names and the splits are read from the data; where it has no splits, a share
of the images is held out. tools/train_own.py does this by itself.
"""

from __future__ import annotations

import argparse

from rankdet.datasets.own.convert import FORMATS, convert_own
from rankdet.engine.errors import one_line_errors
from rankdet.evaluation.progress import StderrProgress


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('folder', help='your data')
    parser.add_argument('--out', help='folder to make; without it the data is only checked')
    parser.add_argument('--format', choices=FORMATS, help='default: recognised')
    parser.add_argument(
        '--val-share',
        type=float,
        default=0.2,
        help='share of images held out where the data has no splits (%(default)s)',
    )
    parser.add_argument('--seed', type=int, default=0, help='another one holds out others')
    parser.add_argument(
        '--skip-bad', action='store_true', help='leave out what is wrong, and list it'
    )
    parser.add_argument('--copy-images', action='store_true', help='into OUT/images')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with one_line_errors():
        with StderrProgress() as progress:
            data = convert_own(
                args.folder,
                args.out,
                format=args.format,
                val_share=args.val_share,
                seed=args.seed,
                skip_bad=args.skip_bad,
                copy_images=args.copy_images,
                progress=progress,
            )
        print(data.summary())
        for line in data.findings[:10]:
            print(line)
        if len(data.findings) > 10:
            where = f' in {data.out}/report.txt' if data.out else ''
            print(f'... and {len(data.findings) - 10} more{where}')
        print(f'written: {data.out}' if data.out else 'only checked; --out FOLDER writes it')


if __name__ == '__main__':
    main()
