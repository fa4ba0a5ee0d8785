"""Pack a saved COCO result file for an evaluation server, checked before it is written.

    python tools/pack_results.py coco image_info_test-dev2017.json dr.bbox.json --algorithm DR-R50
    python tools/pack_results.py voc voc12_test.json ap.bbox.json --out work_dirs/ap_voc12.tar.gz

Nothing is written unless the whole result fits the server's format. How much of the test set it
covers is told on standard error.
"""

from __future__ import annotations

import argparse
import sys

from rankdet.datasets.official import COCO_SPLITS, VOC_CLASSES, VOC_SPLITS
from rankdet.evaluation.progress import StderrProgress
from rankdet.evaluation.submission import (
    COCO_TEST_SETS,
    write_coco_submission,
    write_voc_submission,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    servers = parser.add_subparsers(dest='server', required=True)
    coco = servers.add_parser('coco', help='zip for COCO test-dev')
    voc = servers.add_parser('voc', help='tar.gz for VOC2012 test')
    for server in (coco, voc):
        server.add_argument('images', help='images and classes of the test set, COCO format')
        server.add_argument('result', help='result file, a list in COCO format')
    coco.add_argument('--out-dir', default='.', help='folder of the zip (%(default)s)')
    coco.add_argument('--algorithm', required=True, help='name, without underscores')
    coco.add_argument('--test-set', choices=COCO_TEST_SETS, default=COCO_TEST_SETS[0])
    voc.add_argument('--out', default='results.tar.gz', help='archive (%(default)s)')
    voc.add_argument('--competition', choices=('comp3', 'comp4'), default='comp4')
    voc.add_argument('--classes', nargs='+', default=VOC_CLASSES, help="default: VOC's 20")
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    try:
        with StderrProgress() as progress:
            if args.server == 'coco':
                official = COCO_SPLITS[f'image_info_{args.test_set}'].images
                done = write_coco_submission(
                    args.result,
                    args.images,
                    args.out_dir,
                    algorithm=args.algorithm,
                    test_set=args.test_set,
                    progress=progress,
                )
            else:
                official = VOC_SPLITS['VOC2012', 'test'].images
                done = write_voc_submission(
                    args.result,
                    args.images,
                    args.out,
                    classes=args.classes,
                    competition=args.competition,
                    progress=progress,
                )
    except (ValueError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    found = f'{done.detections} detections in {done.images_detected} of {done.images} images'
    print(found, file=sys.stderr)
    if done.images != official:
        print(f'warning: the test set has {official} images', file=sys.stderr)
    print(done.path)
    return 0


if __name__ == '__main__':
    sys.exit(main())
