"""Make tiny data in the layout and with the class names of VOC or COCO, to try a config with.

    python tools/make_tiny_data.py voc data/tiny/VOCdevkit
    python tools/make_tiny_data.py coco data/tiny/coco --names 2017
    COCO_ROOT=data/tiny/coco python tools/train.py CONFIG

With VOC come the COCO files that configs/_base_/datasets/voc.py wants.
"""

from __future__ import annotations

import argparse
import sys

from rankdet.datasets.tiny import make_tiny_coco, make_tiny_voc


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('kind', choices=('voc', 'coco'))
    parser.add_argument('out', help='folder to make')
    parser.add_argument('--images', type=int, default=8, help='of each split (%(default)s)')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--names', choices=('2017', '2014'), default='2017', help="COCO's names")
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    try:
        if args.kind == 'coco':
            make_tiny_coco(args.out, names=args.names, images=args.images, seed=args.seed)
        else:
            make_tiny_voc(args.out, images=args.images, seed=args.seed)
    except (OSError, ValueError) as error:
        print(f'make_tiny_data: {error}', file=sys.stderr)
        return 1
    print(args.out)
    return 0


if __name__ == '__main__':
    sys.exit(main())
