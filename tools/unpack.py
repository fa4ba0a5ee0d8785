"""Unpack a data set's archive, zip or tar, that somebody else made.

    python tools/unpack.py VOCtrainval_06-Nov-2007.tar data
    python tools/unpack.py annotations_trainval2017.zip data/coco

Names and sizes are looked at before anything is written: an archive with names that lead out of the
folder, links, or more bytes than the limits (docs/safety.md) is refused. Files that are there stay.
"""

import argparse

from rankdet.engine.errors import one_line_errors
from rankdet.evaluation.progress import StderrProgress
from rankdet.untrusted import unpack


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('archive', help='.zip, .tar, .tar.gz, .tgz, .tar.bz2 or .tar.xz')
    parser.add_argument('folder', help='where it goes')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with one_line_errors():
        with StderrProgress() as progress:
            files = unpack(args.archive, args.folder, progress)
        print(f'{len(files)} files in {args.folder}')


if __name__ == '__main__':
    main()
