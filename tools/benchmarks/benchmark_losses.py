"""Time ranking losses, forward and backward, side by side with focal loss.

    python tools/benchmarks/benchmark_losses.py --out tools/benchmarks/losses.jsonl

Scores are drawn as they are at three times of a training. All losses of a setting take turns, so
that a busy machine is busy for all; the best time of each counts, and its ratio to focal loss.
On a machine that others use as well, ``--threads 1`` and processor seconds are the steadiest.
Algorithm 1's loop over the positives (``--loop``) is the one that the tests hold as reference.
"""

from __future__ import annotations

import argparse
import ctypes
import functools
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torchvision
from torch import Tensor

from rankdet import functional as F

ROOT = Path(__file__).parents[2]
# Mean and standard deviation of the negatives' scores, then of the positives'.
REGIMES = {
    'start': (-4.6, 0.1, -4.6, 0.1),
    'middle': (-4.0, 1.5, -2.0, 1.5),
    'trained': (-7.0, 1.5, 1.0, 1.5),
}


def make_scores(
    size: int, positives: int, regime: str, seed: int, device: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, targets and one localisation error per positive."""
    generator = torch.Generator().manual_seed(seed)
    mean, std, positive_mean, positive_std = REGIMES[regime]
    logits = torch.randn(size, generator=generator) * std + mean
    chosen = torch.randperm(size, generator=generator)[:positives]
    logits[chosen] = torch.randn(positives, generator=generator) * positive_std + positive_mean
    targets = torch.zeros(size, dtype=torch.int64)
    targets[chosen] = 1
    errors = torch.rand(positives, generator=generator)
    return logits.to(device).requires_grad_(), targets.to(device), errors.to(device)


def make_losses(
    logits: Tensor, targets: Tensor, errors: Tensor, loop: bool
) -> dict[str, Callable[[], Tensor]]:
    """Every loss as a call without arguments."""
    as_float = targets.float()
    pairs = targets[: len(targets) // 2 * 2].view(-1, 2)
    losses = {
        'focal': lambda: torchvision.ops.sigmoid_focal_loss(logits, as_float, reduction='sum'),
        'ap': lambda: F.ap_loss(logits, targets),
        'ap_plain': lambda: F.ap_loss(logits, targets, interpolated=False),
        'ap_heaviside': lambda: F.ap_loss(logits, targets, delta=0),
        'ap_sigmoid': lambda: F.ap_loss(logits, targets, step='sigmoid'),
        'auc': lambda: F.auc_loss(logits, targets),
        'alrp': lambda: sum(F.alrp_loss(logits, targets, errors)),
        'dr': lambda: F.dr_loss(logits, targets),
        'ohem_sigmoid': lambda: F.ohem_cross_entropy_loss(
            logits, targets, use_sigmoid=True, class_indices=False
        ),
        # Pairs of scores as one class and background.
        'ohem_softmax': lambda: F.ohem_cross_entropy_loss(
            logits[: len(pairs) * 2].view(-1, 2), 1 - pairs.amax(1)
        ),
        'approx_ap': lambda: F.approx_ap_loss(logits, targets),
        'structured_hinge': lambda: F.structured_hinge_ap_loss(logits, targets),
    }
    if importlib.util.find_spec('mmcv') and importlib.util.find_spec('mmcv._ext'):
        from mmcv.ops import sigmoid_focal_loss

        rows, labels = logits[:, None], 1 - targets  # class 0, background 1
        losses['focal_mmcv'] = lambda: sigmoid_focal_loss(rows, labels, 2.0, 0.25, None, 'sum')
    if loop:
        losses['loop'] = functools.partial(_follow_algorithm_1, logits, targets)
    return losses


def _follow_algorithm_1(logits: Tensor, targets: Tensor) -> None:
    """Value and gradient; there is nothing left for a backward pass."""
    sys.path.insert(0, str(ROOT))
    from tests.reference import error_driven

    error_driven.ap_loss(logits, targets, error_driven.linear_step(1))


def run_once(loss: Callable[[], Tensor | None], logits: Tensor) -> tuple[float, float]:
    """Seconds, and processor seconds of all threads, of one forward and backward."""
    logits.grad = None
    is_cuda = logits.device.type == 'cuda'
    if is_cuda:
        torch.cuda.synchronize()
    start, processor_start = time.perf_counter(), time.process_time()
    value = loss()
    if value is not None:
        value.backward()
    if is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start, time.process_time() - processor_start


def peak_bytes(loss: Callable[[], Tensor | None], logits: Tensor) -> int | None:
    """Memory that one forward and backward adds at its peak, the gradient included."""
    logits.grad = None
    if logits.device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run_once(loss, logits)
        return torch.cuda.max_memory_allocated() - before
    try:
        ctypes.CDLL('libc.so.6').malloc_trim(0)  # what is free but kept would serve unseen
        Path('/proc/self/clear_refs').write_text('5')  # forget the peak so far
        before = _resident('VmRSS')
        run_once(loss, logits)
        return _resident('VmHWM') - before
    except OSError:  # only Linux tells
        return None


def _resident(field: str) -> int:
    status = Path('/proc/self/status').read_text()
    return int(status.split(f'{field}:')[1].split()[0]) * 1024


def nontrivial_share(logits: Tensor, targets: Tensor, delta: float = 1.0) -> float:
    """Share of the negatives within delta of the lowest positive, or above."""
    scores = logits.detach()
    negatives = scores[targets == 0]
    return (negatives >= scores[targets == 1].min() - delta).float().mean().item()


def describe_run(device: str) -> dict:
    """Where and with what a row was measured."""
    commit = subprocess.run(
        ['git', 'rev-parse', '--short', 'HEAD'], cwd=ROOT, capture_output=True, text=True
    )
    name = torch.cuda.get_device_name() if device == 'cuda' else _processor()
    return dict(
        device=name,
        threads=torch.get_num_threads() if device == 'cpu' else None,
        torch=torch.__version__,
        torchvision=torchvision.__version__,
        python=platform.python_version(),
        commit=commit.stdout.strip() or None,
    )


def _processor() -> str:
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
        return next(line.split(': ')[1] for line in lines if line.startswith('model name'))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def benchmark(size: int, positives: int, regime: str, args: argparse.Namespace) -> list[dict]:
    """One row per loss."""
    logits, targets, errors = make_scores(size, positives, regime, args.seed, args.device)
    losses = make_losses(logits, targets, errors, args.loop)
    chosen = {name: losses[name] for name in args.losses}
    share = nontrivial_share(logits, targets)
    print(f'\n{regime}, {size} scores, {positives} positives, {share:.1%} non-trivial negatives')
    memory = {name: peak_bytes(loss, logits) for name, loss in chosen.items()}  # and a warm-up
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in chosen}
    for repeat in range(args.repeats):
        for name, loss in chosen.items():
            if name == 'loop' and repeat:
                continue
            seconds[name].append(run_once(loss, logits))
    rows = []
    best = {name: tuple(map(min, zip(*times))) for name, times in seconds.items()}
    for name, times in seconds.items():
        wall, processor = best[name]
        ratio, processor_ratio = (mine / focal for mine, focal in zip(best[name], best['focal']))
        megabytes = float('nan') if memory[name] is None else memory[name] / 2**20
        print(
            f'  {name:16s} {wall * 1e3:9.1f} ms {ratio:7.2f} x   processor '
            f'{processor * 1e3:9.1f} ms {processor_ratio:7.2f} x {megabytes:7.0f} MiB'
        )
        rows.append(
            dict(
                loss=name,
                regime=regime,
                size=size,
                positives=positives,
                nontrivial=round(share, 4),
                best_ms=round(wall * 1e3, 3),
                median_ms=round(statistics.median(wall for wall, _ in times) * 1e3, 3),
                processor_ms=round(processor * 1e3, 3),
                repeats=len(times),
                ratio_to_focal=round(ratio, 3),
                processor_ratio_to_focal=round(processor_ratio, 3),
                peak_bytes=memory[name],
                seed=args.seed,
                load=round(os.getloadavg()[0], 1) if hasattr(os, 'getloadavg') else None,
            )
        )
    return rows


def main() -> None:
    names = list(make_losses(*make_scores(2, 1, 'start', 0, 'cpu'), loop=False))
    usual = ['ap', 'auc', 'alrp', 'dr', 'ohem_sigmoid', 'focal_mmcv']
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--sizes', type=int, nargs='+', default=[2_600_000])
    parser.add_argument('--positives', type=int, nargs='+', default=[100, 1000, 10_000])
    parser.add_argument('--regimes', nargs='+', choices=REGIMES, default=list(REGIMES))
    parser.add_argument(
        '--losses',
        nargs='+',
        choices=names,
        default=[name for name in usual if name in names],
        help='names as printed; focal is always there',
    )
    parser.add_argument('--loop', action='store_true', help="also time Algorithm 1's loop, once")
    parser.add_argument('--repeats', type=int, default=9)
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cpu')
    parser.add_argument('--threads', type=int, help="of the CPU; the default is torch's")
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--out', type=Path, help='JSON lines file to append the rows to')
    args = parser.parse_args()
    args.losses = ['focal', *args.losses] + ['loop'] * args.loop
    if args.threads:
        torch.set_num_threads(args.threads)
    where = describe_run(args.device)
    print(json.dumps(where))
    for size in args.sizes:
        for positives in args.positives:
            for regime in args.regimes:
                rows = benchmark(size, positives, regime, args)
                if args.out:
                    with args.out.open('a') as file:
                        file.writelines(json.dumps(row | where) + '\n' for row in rows)


if __name__ == '__main__':
    main()
