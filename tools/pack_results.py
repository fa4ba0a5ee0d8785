"""Pack a saved COCO result file for an evaluation server, checked before it is written.

    python tools/pack_results.py coco image_info_test-dev2017.json dr.bbox.json --algorithm DR-R50
    python tools/pack_results.py voc voc12_test.json ap.bbox.json --out work_dirs/ap_voc12.tar.gz

Nothing is written unless the whole result fits the server's format and IMAGES is the list of its
test set: with the official categories and ids, the official number of images, and no annotations.
How much of the test set the result covers is told on standard error. --any-images packs results on
another list of images, such as made-up data to try the tool on, which no server takes.
"""

from __future__ import annotations

import argparse
import sys

from rankdet.datasets.official import (
    COCO_CATEGORY_IDS,
    COCO_CLASSES,
    COCO_SPLITS,
    VOC_CLASSES,
    VOC_SPLITS,
)
from rankdet.evaluation.progress import StderrProgress
from rankdet.evaluation.submission import (
    COCO_TEST_SETS,
    write_coco_submission,
    write_voc_submission,
)

_COCO_CATEGORIES = dict(zip(COCO_CLASSES, COCO_CATEGORY_IDS))
_HINT = '; to try the tool on made-up data there is --any-images'


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
        server.add_argument(
            '--any-images',
            action='store_true',
            help="accept images that are not the test set's, to try this on made-up data",
        )
    coco.add_argument('--out-dir', default='.', help='folder of the zip (%(default)s)')
    coco.add_argument('--algorithm', required=True, help='name, without underscores')
    coco.add_argument('--test-set', choices=COCO_TEST_SETS, default=COCO_TEST_SETS[0])
    voc.add_argument('--out', default='results.tar.gz', help='archive (%(default)s)')
    voc.add_argument('--competition', choices=('comp3', 'comp4'), default='comp4')
    voc.add_argument('--classes', nargs='+', default=VOC_CLASSES, help="default: VOC's 20")
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    if args.any_images:
        official = None
    elif args.server == 'coco':
        official = COCO_SPLITS[f'image_info_{args.test_set}'].images
    else:
        official = VOC_SPLITS['VOC2012', 'test'].images
    try:
        with StderrProgress() as progress:
            if args.server == 'coco':
                done = write_coco_submission(
                    args.result,
                    args.images,
                    args.out_dir,
                    algorithm=args.algorithm,
                    test_set=args.test_set,
                    categories=_COCO_CATEGORIES,
                    num_images=official,
                    progress=progress,
                )
            else:
                done = write_voc_submission(
                    args.result,
                    args.images,
                    args.out,
                    classes=args.classes,
                    competition=args.competition,
                    num_images=official,
                    progress=progress,
                )
    except (ValueError, OSError) as error:
        told = str(error)
        for argument, option in (('out_dir must', '--out-dir must'), ('path must', '--out must')):
            if told.startswith(argument):
                told = told.replace(argument, option, 1)
        hint = _HINT if told.startswith('images must be those of') else ''
        print(f'error: {told}{hint}', file=sys.stderr)
        return 1
    found = f'{done.detections} detections in {done.images_detected} of {done.images} images'
    print(found, file=sys.stderr)
    print(done.path)
    return 0


if __name__ == '__main__':
    sys.exit(main())
