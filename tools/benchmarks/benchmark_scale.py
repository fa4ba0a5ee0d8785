"""What a loss costs as scores and positives grow: N from 1e5 to 1e8, P from 10 to 50,000.

    python -m tools.benchmarks.benchmark_scale --out tools/benchmarks/scale.jsonl
    python -m tools.benchmarks.benchmark_scale --plot docs/images/speed_scale.png \
        --out tools/benchmarks/scale.jsonl

A row is one forward and backward pass with dense targets at one (N, P). N grows at the first number
of positives, P at the second number of scores. All losses of a point see the same scores and take
turns; the best time counts. A point whose memory would pass ``--gib``, or that torch cannot
allocate, is a row with the reason and no time.

``--plot`` draws what ``--out`` holds and prints the exponents: the slopes of log time over log N
and log P. On paper the closed form takes O(N + P log P) where a grid of cells finds the segment of
a score at once: exponents of 1 and nearly 0.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import statistics
import sys
from pathlib import Path

import torch

from tools.benchmarks.benchmark_losses import (
    REGIMES,
    describe_run,
    make_batch,
    make_losses,
    peak_bytes,
    run_once,
)

LOSSES = ('focal', 'ap', 'alrp', 'dr')
# Most memory, in bytes a score, the batch's own 20 included; measured by benchmark_losses.
BYTES = {'focal': 90, 'ap': 60, 'alrp': 60, 'dr': 65}


def grid(args: argparse.Namespace) -> list[tuple[int, int]]:
    """Points (N, P), each once: along N, then along P."""
    along_n = [(n, args.at_positives) for n in args.sizes]
    along_p = [(args.at_size, p) for p in args.positives]
    return [(n, p) for n, p in dict.fromkeys(along_n + along_p) if p < n]


def measure(n: int, p: int, regime: str, args: argparse.Namespace) -> list[dict]:
    """One row per loss."""
    needs = {loss: BYTES[loss] * n for loss in args.losses}
    limit = args.gib * 2**30
    fitting = [loss for loss in args.losses if needs[loss] <= limit]
    times: dict[str, list[tuple[float, float]]] = {loss: [] for loss in fitting}
    memory: dict[str, int | None] = {}
    reasons = {
        loss: f'needs about {needs[loss] / 2**30:.0f} GiB, --gib allows {args.gib:g}'
        for loss in args.losses
        if loss not in fitting
    }
    if fitting:
        batch = make_batch(n, p, regime, seed=args.seed, device=args.device)
        calls = make_losses(batch, loop=False)
        for repeat in range(args.repeats + 1):
            for loss in [loss for loss in fitting if loss not in reasons]:
                try:
                    if repeat:
                        times[loss].append(run_once(calls[loss], batch.logits))
                    else:  # warms up, too
                        memory[loss] = peak_bytes(calls[loss], batch.logits)
                except RuntimeError as error:  # of an allocator
                    reasons[loss] = str(error).splitlines()[0]
        del batch, calls
        gc.collect()
    rows = []
    for loss in args.losses:
        wall, processor = (None, None)
        if loss not in reasons:
            wall, processor = (round(min(t) * 1e3, 3) for t in zip(*times[loss]))
        rows.append(
            dict(
                loss=loss,
                size=n,
                positives=p,
                regime=regime,
                best_ms=wall,
                processor_ms=processor,
                peak_bytes=memory.get(loss),
                reason=reasons.get(loss),
                repeats=len(times.get(loss, [])),
                seed=args.seed,
                load=round(os.getloadavg()[0], 1) if hasattr(os, 'getloadavg') else None,
            )
        )
    return rows


def slope(points: list[tuple[float, float]]) -> float:
    """Of the line by least squares through (log x, log y)."""
    logs = [(math.log(x), math.log(y)) for x, y in points]
    mean_x, mean_y = (sum(values) / len(logs) for values in zip(*logs))
    over = sum((x - mean_x) * (y - mean_y) for x, y in logs)
    return over / sum((x - mean_x) ** 2 for x, _ in logs)


def curves(rows: list[dict], device: str) -> dict[tuple[str, str, str], list[tuple[int, float]]]:
    """(x axis, regime, loss): points (x, best ms), where more than one was measured."""
    time = 'processor_ms' if device == 'cpu' else 'best_ms'
    found: dict[tuple[str, str, str], list[tuple[int, float]]] = {}
    for axis, other in (('size', 'positives'), ('positives', 'size')):
        usual = statistics.mode(row[other] for row in rows)
        for row in rows:
            if row[time] is not None and row[other] == usual:
                key = axis, row['regime'], row['loss']
                found.setdefault(key, []).append((row[axis], row[time]))
    return {key: sorted(points) for key, points in found.items() if len(points) > 1}


def exponents(found: dict) -> dict[tuple[str, str, str], float]:
    """Slopes; along N from a million on, since below the calls themselves cost as much."""
    chosen = {
        key: [(x, y) for x, y in points if key[0] != 'size' or x >= 10**6]
        for key, points in found.items()
    }
    return {key: slope(points) for key, points in chosen.items() if len(points) > 1}


def plot(rows: list[dict], path: Path) -> None:
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    device = 'cpu' if rows[0]['threads'] else 'cuda'
    found = curves(rows, device)
    regimes = list(dict.fromkeys(row['regime'] for row in rows))
    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4), layout='constrained')
    names = {'size': 'scores N', 'positives': 'positives P'}
    for panel, (axis, label) in zip(axes, names.items()):
        for (x_axis, regime, loss), points in found.items():
            if x_axis == axis:
                color, line = f'C{LOSSES.index(loss)}', ['-', '--', ':'][regimes.index(regime)]
                panel.loglog(
                    *zip(*points), line, color=color, marker='.', label=f'{loss}, {regime}'
                )
        panel.set(xlabel=label, ylabel='ms, forward and backward')
        panel.grid(alpha=0.3)
    axes[0].legend(fontsize=8)
    clock = "the processor's time, one thread" if device == 'cpu' else 'best time'
    figure.suptitle(f'{rows[0]["device"]}, {clock}', fontsize=10)
    figure.savefig(path, dpi=130)
    for (axis, regime, loss), value in sorted(exponents(found).items()):
        print(f'{axis:10s} {regime:8s} {loss:6s} exponent {value:5.2f}')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--sizes', type=int, nargs='+', default=[10**k for k in (5, 6, 7, 8)])
    parser.add_argument('--positives', type=int, nargs='+', default=[10, 100, 1000, 10_000, 50_000])
    parser.add_argument('--at-positives', type=int, default=1000, help='P while N grows')
    parser.add_argument('--at-size', type=int, default=10**6, help='N while P grows')
    parser.add_argument('--regimes', nargs='+', choices=REGIMES, default=['start', 'trained'])
    parser.add_argument('--losses', nargs='+', choices=LOSSES, default=list(LOSSES))
    parser.add_argument('--gib', type=float, default=9, help='most memory of a point')
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cpu')
    parser.add_argument('--threads', type=int, default=1, help='of the CPU')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--out', type=Path, help='JSON lines file to append the rows to')
    parser.add_argument('--plot', type=Path, help='draw what is in --out, measure nothing')
    args = parser.parse_args()
    if args.plot:
        if not (args.out and args.out.exists()):
            parser.error('--plot draws the rows of --out FILE, which must exist')
        rows = [json.loads(line) for line in args.out.read_text().splitlines()]
        rows = [row for row in rows if (row['threads'] is None) == (args.device == 'cuda')]
        if not rows:
            parser.error(f'--plot: no row of {args.out} was measured with --device {args.device}')
        plot(rows, args.plot)
        return
    if args.device == 'cuda' and not torch.cuda.is_available():
        parser.error('--device cuda: torch finds no GPU')
    torch.set_num_threads(args.threads)
    where = describe_run(args.device)
    where['command'] = ' '.join(['python -m tools.benchmarks.benchmark_scale', *sys.argv[1:]])
    for n, p in grid(args):
        for regime in args.regimes:
            for row in measure(n, p, regime, args):
                print(json.dumps(row), flush=True)
                if args.out:
                    with args.out.open('a') as file:
                        file.write(json.dumps(row | where) + '\n')


if __name__ == '__main__':
    main()
