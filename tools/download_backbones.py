"""Download the ImageNet weights that configs start from, for a machine without network.

python tools/download_backbones.py configs/dr_loss/*.py --out backbones
python tools/download_backbones.py configs/dr_loss/*.py --list
BACKBONES=backbones python tools/train.py CONFIG       # there
"""

import argparse

from rankdet.engine.errors import one_line_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('configs', nargs='+', metavar='CONFIG', help='config files')
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument('--out', metavar='FOLDER', help='where the files go')
    what.add_argument('--list', action='store_true', help='only print files and addresses')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with one_line_errors():
        import rankdet.plugin  # noqa: F401, before any import of MMDetection
        from rankdet.engine import launch, pretrained

        found = {
            weights.url: weights
            for config in args.configs
            for weights in pretrained.pretrained_weights(launch.load_config(config))
            if weights.url
        }
        for weights in found.values():
            print(f'{weights.file}  {weights.name}  {weights.url}', flush=True)
            if args.out:
                pretrained.download(weights, args.out)


if __name__ == '__main__':
    main()
