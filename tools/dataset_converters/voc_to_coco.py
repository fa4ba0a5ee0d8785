"""Convert annotations in the layout of PASCAL VOC to COCO JSON, one file per split.

    python tools/dataset_converters/voc_to_coco.py path/to/BCCD --split train val test
    python tools/dataset_converters/voc_to_coco.py VOCdevkit/VOC2007 VOCdevkit/VOC2012 \\
        --split trainval --out data/voc0712
    python tools/dataset_converters/voc_to_coco.py photos --classes cat dog --skip-unknown

Without --split every annotation is used. Damaged images and degenerate boxes are left out and
listed in instances_{split}.report.txt.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rankdet.datasets.voc import VocConversion, voc_to_coco


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'roots', nargs='+', help='folders with Annotations, JPEGImages, ImageSets/Main'
    )
    parser.add_argument('--split', nargs='+', default=[None], help='lists in ImageSets/Main')
    parser.add_argument('--out', default='data/voc', help='folder for the files (%(default)s)')
    parser.add_argument('--classes', nargs='+', help='names in the order of ids (default: all)')
    parser.add_argument(
        '--skip-unknown', action='store_true', help='leave out classes not in --classes'
    )
    parser.add_argument('--image-prefix', help='folder that file names are relative to')
    parser.add_argument(
        '--zero-based', action='store_true', help='coordinates start at 0, not at 1 as in VOC'
    )
    parser.add_argument(
        '--images-only', action='store_true', help='no objects: a test set without annotations'
    )
    return parser.parse_args()


def show_progress(done: int, total: int) -> None:
    if done % 500 == 0 or done == total:
        print(f'  {done}/{total} images read', flush=True)


def show_result(out: Path, result: VocConversion, shown: int = 10) -> None:
    print(f'{out}: {result.summary()}')
    for finding in result.findings[:shown]:
        print(f'  {finding}')
    if len(result.findings) > shown:
        print(f'  ... and {len(result.findings) - shown} more in {out.stem}.report.txt')


def main() -> int:
    args = parse_args()
    lists = [Path(r, 'ImageSets/Main', f'{s}.txt') for r in args.roots for s in args.split if s]
    missing = [str(path) for path in lists if not path.is_file()]
    if missing:  # before the first of several files is written
        print(f'voc_to_coco: no such split: {", ".join(missing)} is missing', file=sys.stderr)
        return 1
    for split in args.split:
        out = Path(args.out) / f'instances_{split or "all"}.json'
        try:
            result = voc_to_coco(
                args.roots,
                out,
                split=split,
                classes=args.classes,
                skip_unknown=args.skip_unknown,
                image_prefix=args.image_prefix,
                zero_based=args.zero_based,
                images_only=args.images_only,
                progress=show_progress,
            )
        except (OSError, TypeError, ValueError) as error:
            print(f'voc_to_coco: {error}', file=sys.stderr)
            return 1
        show_result(out, result)
    # The order matters: MMDetection takes labels from the file and names from the config.
    print(f'in the config: data_prefix=dict(img={str(result.image_prefix)!r}),')
    print(f'               metainfo=dict(classes={result.classes!r})')
    return 0


if __name__ == '__main__':
    sys.exit(main())
