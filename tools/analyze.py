"""The figures of the papers, for trainings of yours.

    python tools/analyze.py ap-curves work_dirs/a work_dirs/b        # AP against iterations
    python tools/analyze.py scatter work_dirs/a work_dirs/b          # score against IoU
    python tools/analyze.py densities work_dirs/a work_dirs/b        # foreground and background
    python tools/analyze.py balance work_dirs/alrp                   # aLRP Loss and its parts
    python tools/analyze.py gradients work_dirs/a work_dirs/b        # negatives against positives
    python tools/analyze.py push work_dirs/a work_dirs/b             # where AP, AUC, focal push
    python tools/analyze.py loss-time work_dirs/a work_dirs/b        # loss time over training
    python tools/analyze.py loss-cost work_dirs/a work_dirs/b        # loss time, memory by batch
    python tools/analyze.py convergence CONFIG                       # three optimisations of AP
    python tools/analyze.py imbalance CONFIG --samples 100 1000      # the same by samples
    python tools/analyze.py drift                                    # a distribution under lambda
    python tools/analyze.py surrogates                               # the hinge, and smooth ones

A run is the folder of a training, or one of its checkpoints. Runs whose losses have the same name
(several seeds) are averaged. Each command leaves NAME.png, NAME.svg and the data in NAME.json.
gradients and loss-time want trainings with the recorder:

    python tools/train.py CONFIG --cfg-options default_hooks.recorder.type=LossRecorder

Configs are Python code: analyse only runs of those you trust.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rankdet.engine.errors import one_line_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest='command', required=True, metavar='FIGURE')
    names = ('ap-curves', 'scatter', 'densities', 'balance', 'gradients', 'push', 'loss-time',
             'loss-cost')  # fmt: skip
    of_runs = {name: commands.add_parser(name) for name in names}
    for sub in of_runs.values():
        sub.add_argument('runs', nargs='+', help='folders of trainings, or checkpoints in them')
        sub.add_argument('--labels', nargs='+', help='one a run; default: names of their losses')
        sub.add_argument('--config', help='config of all runs, if it is not beside them')
    for name in ('scatter', 'densities', 'push', 'loss-cost'):
        of_runs[name].add_argument('--device', help='default: a GPU if there is one')
    for name in ('scatter', 'densities'):
        of_runs[name].add_argument('--images', type=int, help='default: all')
    sub = of_runs['ap-curves']
    sub.add_argument('--metric', default='AP', choices=['AP', 'AP50', 'AP75'])
    sub.add_argument('--measure', action='store_true', help='test all checkpoints, log or not')
    of_runs['scatter'].add_argument('--points', type=int, default=4000, help='of a kind and run')
    of_runs['densities'].add_argument('--bins', type=int, default=50)
    of_runs['loss-time'].add_argument('--window', type=int, default=10, help='records averaged')
    sub = of_runs['loss-cost']
    sub.add_argument('--batch-sizes', type=int, nargs='+', default=[1, 2, 4, 8])
    sub.add_argument('--rounds', type=int, default=5)

    trained = {name: commands.add_parser(name) for name in ('convergence', 'imbalance')}
    for sub in trained.values():
        sub.add_argument('config')
        sub.add_argument(
            '--work-dir', type=Path, default='work_dirs/convergence', help='(%(default)s)'
        )
        sub.add_argument('--iterations', type=int, default=500, help='(%(default)s)')
        sub.add_argument('--seeds', type=int, default=1, help='trainings of each (%(default)s)')
        sub.add_argument('--lr', type=float, help="default: the config's")
    trained['convergence'].add_argument('--window', type=int, default=10)
    sub = trained['imbalance']
    sub.add_argument('--samples', type=int, nargs='+', required=True, help='anchors per image')
    sub.add_argument('--rpn-iterations', type=int)

    sub = commands.add_parser('drift')
    sub.add_argument('--spreads', type=float, nargs='+', default=[0.05, 0.15])
    sub.add_argument('--lambdas', type=float, nargs='+', default=[1.0, 0.2, 0.1])
    sub.add_argument('--mean', type=float, default=0.5)
    sub.add_argument('--samples', type=int, default=10_000_000, help='(%(default)s)')
    sub.add_argument('--positives', action='store_true', help='drift down')
    sub = commands.add_parser('surrogates')
    sub.add_argument('--smoothness', type=float, nargs='+', default=[6.0], help='L')
    sub.add_argument('--rho', type=float, nargs='+', default=[0.5])
    for sub in commands.choices.values():
        sub.add_argument('--out', help='path without suffix; default: work_dirs/analysis/FIGURE')
    return parser.parse_args()


def main() -> None:
    options = vars(parse_args())
    command = options.pop('command')
    out = options.pop('out') or f'work_dirs/analysis/{command}'
    with one_line_errors():
        from rankdet.analysis import figures

        name = command.replace('-', '_')
        gather, draw = getattr(figures, name), getattr(figures, f'draw_{name}')
        if 'runs' in options:
            runs = options.pop('runs'), options.pop('config'), options.pop('labels')
            subject = figures.open_runs(runs[0], config=runs[1], labels=runs[2])
            if command == 'ap-curves':
                options['report'] = report
            data = gather(subject, **options)
        elif 'work_dir' in options:
            shared = {key: options.pop(key) for key in ('config', 'work_dir', 'iterations', 'lr')}
            trials = figures.Trials(**shared, seeds=range(options.pop('seeds')), report=report)
            data = gather(trials, **options)
        else:
            data = gather(**options)
        paths = figures.save(draw(data), data, out)
        if command == 'densities':  # the same data seen run by run
            paths += figures.save(figures.draw_separation(data), data, f'{out}-by-run')
        if command == 'push':
            print(figures.push_table(data), end='\n\n')
        print('\n'.join(map(str, paths)))


def report(line: str) -> None:
    print(line, flush=True)


if __name__ == '__main__':
    main()
