"""Pack a saved COCO result file for an evaluation server, checked before it is written.

    python tools/pack_results.py coco image_info_test-dev2017.json dr.bbox.json --algorithm DR-R50
    python tools/pack_results.py voc voc12_test.json ap.bbox.json --out work_dirs/ap_voc12.tar.gz

Nothing is written unless the whole result fits the server's format.
"""

from __future__ import annotations

import argparse
import sys

from rankdet.evaluation.submission import write_coco_submission, write_voc_submission


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
    coco.add_argument('--test-set', default='test-dev2017', help='(%(default)s)')
    voc.add_argument('--out', default='results.tar.gz', help='archive (%(default)s)')
    voc.add_argument('--competition', choices=('comp3', 'comp4'), default='comp4')
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    try:
        if args.server == 'coco':
            path = write_coco_submission(
                args.result,
                args.images,
                args.out_dir,
                algorithm=args.algorithm,
                test_set=args.test_set,
            )
        else:
            path = write_voc_submission(
                args.result, args.images, args.out, competition=args.competition
            )
    except (ValueError, FileNotFoundError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    print(path)
    return 0


if __name__ == '__main__':
    sys.exit(main())
