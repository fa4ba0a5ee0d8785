"""Train every loss by one schedule on the digits and print what each has learnt.

    python tools/learning_table.py                           # all configs of configs/learning
    python tools/learning_table.py --only retinanet --seeds 1
    python tools/learning_table.py --search --seeds 3 --out learning.jsonl

Each config is trained with the learning rate that it states. --search finds it first, on scenes of
its own. An interrupted run goes on where it was; a second one prints the table at once.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from rankdet.analysis.learning import SCENES, learn, learning_table, step_seconds

ROOT = Path(__file__).resolve().parents[1]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--configs', default=ROOT / 'configs/learning', type=Path, metavar='FOLDER')
    parser.add_argument('--only', default='', help='configs whose name contains this')
    parser.add_argument('--seeds', type=int, default=2, help='trainings each (%(default)s)')
    parser.add_argument('--search', action='store_true', help='find the learning rates first')
    parser.add_argument(
        '--jobs', type=int, default=os.cpu_count() or 1, help='trainings at a time (%(default)s)'
    )
    parser.add_argument('--scenes', type=int, default=SCENES['num_train'], help='(%(default)s)')
    parser.add_argument('--work-dir', default='work_dirs/learning', type=Path)
    parser.add_argument('--data', default='data/digits-128', type=Path)
    parser.add_argument('--out', type=Path, help='write every training as a line of JSON')
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    configs = sorted(path for path in args.configs.glob('*.py') if args.only in path.stem)
    if not configs:
        print(f'error: no config in {args.configs} has {args.only!r} in its name', file=sys.stderr)
        return 1
    if args.seeds < 1 or args.jobs < 1:
        print('error: --seeds and --jobs must be at least 1', file=sys.stderr)
        return 1
    work_dir, data = args.work_dir.resolve(), args.data.resolve()
    scenes = SCENES | dict(num_train=args.scenes)
    try:
        rows = learn(
            configs,
            work_dir,
            data,
            seeds=args.seeds,
            jobs=args.jobs,
            search=args.search,
            scenes=scenes,
            report=lambda line: print(line, flush=True),
        )
    except (OSError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    seconds = step_seconds(configs, data)
    command = ' '.join(['python tools/learning_table.py', *sys.argv[1:]])
    rows = [
        row | dict(step_seconds=round(seconds[row['config']], 3), command=command) for row in rows
    ]
    table = learning_table(rows, seconds)
    (work_dir / 'table.md').write_text(table)
    if args.out:
        args.out.write_text(''.join(json.dumps(row) + '\n' for row in rows))
    print(f'\n{table}')
    failed = [row['config'] for row in rows if row.get('failed')]
    if failed:
        print(f'error: {len(failed)} trainings failed: {sorted(set(failed))}; their folders in '
              f'{work_dir} say why (output.txt)', file=sys.stderr)  # fmt: skip
    return int(bool(failed))


if __name__ == '__main__':
    sys.exit(main())
