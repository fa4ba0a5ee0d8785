"""Split COCO's instances_val2014.json into minival and what is trained on.

    python tools/dataset_converters/split_coco_val2014.py data/coco/annotations

The folder has instances_val2014.json and instances_val2017.json, which tells the 5,000 images;
instances_minival2014.json and instances_valminusminival2014.json are written beside them.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rankdet.datasets.coco_minival import split_val2014
from rankdet.evaluation.progress import StderrProgress


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('annotations', help='folder of the annotation files')
    return parser.parse_args()


def main() -> int:
    folder = Path(parse_args().annotations)
    try:
        with StderrProgress() as progress:
            written = split_val2014(
                folder / 'instances_val2014.json',
                folder / 'instances_val2017.json',
                progress=progress,
            )
    except (OSError, ValueError) as error:
        print(f'split_coco_val2014: {error}', file=sys.stderr)
        return 1
    for path, images in written.items():
        print(f'{path}: {images} images')
    return 0


if __name__ == '__main__':
    sys.exit(main())
