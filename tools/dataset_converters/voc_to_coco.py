"""Convert annotations in the layout of PASCAL VOC to COCO JSON, one file per split.

    python tools/dataset_converters/voc_to_coco.py path/to/BCCD --split train val test
    python tools/dataset_converters/voc_to_coco.py VOCdevkit/VOC2007 VOCdevkit/VOC2012 \\
        --split trainval --out data/voc0712
    python tools/dataset_converters/voc_to_coco.py photos --classes cat dog --skip-unknown
    python tools/dataset_converters/voc_to_coco.py VOCdevkit/VOC2012 --split test --images-only

Without --split every annotation is used. Damaged images and degenerate boxes are left out and
listed in instances_{split}.report.txt. Folders called VOC2007 and VOC2012 have the 20 classes of
VOC, others those that their annotations name. All splits are written, or none.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rankdet.datasets.voc import VocConversion, convert_voc
from rankdet.evaluation.progress import StderrProgress


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'roots', nargs='+', help='folders with Annotations, JPEGImages, ImageSets/Main'
    )
    parser.add_argument('--split', nargs='+', default=[None], help='lists in ImageSets/Main')
    parser.add_argument('--out', default='data/voc', help='folder for the files (%(default)s)')
    parser.add_argument(
        '--classes',
        nargs='+',
        help="names in the order of ids (default: VOC's 20, or all that occur)",
    )
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


def show_result(out: Path, result: VocConversion, shown: int = 10) -> None:
    print(f'{out}: {result.summary()}')
    for finding in result.findings[:shown]:
        print(f'  {finding}')
    if len(result.findings) > shown:
        print(f'  ... and {len(result.findings) - shown} more in {out.stem}.report.txt')


def convert_all(args: argparse.Namespace) -> dict[Path, VocConversion]:
    """Every split in memory, so that an error in the last one leaves all files as they were."""
    lists = [Path(r, 'ImageSets/Main', f'{s}.txt') for r in args.roots for s in args.split if s]
    if missing := [str(path) for path in lists if not path.is_file()]:
        raise FileNotFoundError(f'no such split: {", ".join(missing)} is missing')
    classes, converted = args.classes, {}
    for split in dict.fromkeys(args.split):
        with StderrProgress() as progress:
            result = convert_voc(
                args.roots,
                split=split,
                classes=classes,
                skip_unknown=args.skip_unknown,
                image_prefix=args.image_prefix,
                zero_based=args.zero_based,
                images_only=args.images_only,
                progress=progress,
            )
        classes = result.classes
        converted[Path(args.out) / f'instances_{split or "all"}.json'] = result
    return converted


def main() -> int:
    args = parse_args()
    try:
        converted = convert_all(args)
        for out, result in converted.items():
            result.write(out)
            show_result(out, result)
    except (OSError, TypeError, ValueError) as error:
        print(f'voc_to_coco: {error}', file=sys.stderr)
        return 1
    # The order matters: MMDetection takes labels from the file and names from the config.
    print(f'in the config: data_prefix=dict(img={str(result.image_prefix)!r}),')
    print(f'               metainfo=dict(classes={result.classes!r})')
    return 0


if __name__ == '__main__':
    sys.exit(main())
