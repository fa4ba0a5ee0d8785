"""Print what a config says without running it: configs are Python code.

    python tools/read_config.py work_dirs/theirs/config.py
    python tools/read_config.py CONFIG > plain.py

Follows _base_ inside the config's own folder `configs` and into installed packages (mmdet::...).
What can only be known by running it, such as imports, calls and loops, is listed at the end.
"""

import argparse

from rankdet.engine.errors import one_line_errors
from rankdet.untrusted import read_config


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='a .py or .json config')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with one_line_errors():
        print(read_config(args.config).text().rstrip())


if __name__ == '__main__':
    main()
