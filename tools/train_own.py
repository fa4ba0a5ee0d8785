"""Train a detector on your own data: VOC XML, COCO JSON or YOLO text, in any usual layout.

    python tools/train_own.py path/to/data
    python tools/train_own.py path/to/data --skip-bad --epochs 5        # leave out what is wrong
    python tools/train_own.py path/to/data --loss alrp --detector faster-rcnn --backbone r50
    BACKBONES=none python tools/train_own.py path/to/data --backbone r18    # no network

Classes, their number, splits, anchors, batch, learning rate and epochs come from the data. They are
written to WORK_DIR/config.py, to be read and edited. A second call goes on where the first one was
interrupted, or shows what it left.
"""

import argparse
from pathlib import Path

from rankdet.analysis.own_model import BACKBONES, DETECTORS, LOSSES
from rankdet.commands import SAME_COMMAND
from rankdet.datasets.own.convert import FORMATS
from rankdet.engine.errors import one_line_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('folder', help='your data')
    parser.add_argument('--loss', choices=LOSSES, default='ap', help='(%(default)s)')
    parser.add_argument('--detector', choices=DETECTORS, default='retinanet', help='(%(default)s)')
    parser.add_argument(
        '--backbone',
        choices=BACKBONES,
        default='small',
        help='small: from random weights, minutes on a CPU; r18, r50: from pretrained weights, '
        'for a GPU (%(default)s)',
    )
    parser.add_argument('--epochs', type=int, help='default: by the number of images')
    parser.add_argument('--batch', type=int, help='images an iteration; the learning rate follows')
    parser.add_argument('--image-size', type=int, help='longer side; default: by the backbone')
    parser.add_argument('--seed', type=int, default=0, help='(%(default)s)')
    parser.add_argument('--format', choices=FORMATS, help='default: recognised')
    parser.add_argument(
        '--val-share',
        type=float,
        default=0.2,
        help='share of images held out where the data has no splits (%(default)s)',
    )
    parser.add_argument(
        '--skip-bad', action='store_true', help='leave out what is wrong in the data, and list it'
    )
    parser.add_argument('--work-dir', help='default: work_dirs/FOLDER-LOSS')
    return parser.parse_args()


def main() -> None:
    args = vars(parse_args())
    with one_line_errors(SAME_COMMAND):
        import rankdet.plugin  # noqa: F401, before any import of MMDetection
        from rankdet.analysis.own_config import OwnOptions
        from rankdet.analysis.own_data import as_text, train_own
        from rankdet.evaluation.progress import StderrProgress

        name = Path(args['folder']).absolute().name
        work_dir = args.pop('work_dir') or f'work_dirs/{name}-{args["loss"]}'
        with StderrProgress() as progress:
            summary = train_own(OwnOptions(**args), work_dir, progress=progress)
        print('\n' + as_text(summary), end='')


if __name__ == '__main__':
    main()
