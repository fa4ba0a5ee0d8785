"""Time ranking losses, forward and backward, side by side with focal loss.

    python tools/benchmarks/benchmark_losses.py --out tools/benchmarks/losses.jsonl
    python tools/benchmarks/benchmark_losses.py --device cuda --loop --out FILE

Scores are drawn as they are at three times of a training. All losses of a setting take turns, so
that a busy machine is busy for all; the best time of each counts, and its ratio to focal loss.
On a machine that others use as well, ``--threads 1`` and processor seconds are the steadiest.
``--loop`` adds Algorithm 1's loops over the positives (``loops.py``): ``loop``, in float64, over
all negatives, and ``loop_float32``, over the non-trivial ones.

On CUDA the batch is that of RetinaNet at 512 pixels, 6 anchors a place, 8 images and 80 classes,
as class indices. The fused kernels take turns with plain torch, torchvision's focal loss, mmcv's
fused one where it is compiled, and ``copy``: logits read once, as many gradients written once,
which is what no loss can beat. A loss that a CUDA graph can hold is also timed as one, without the
host's part.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.metadata
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
from typing import NamedTuple

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


class Batch(NamedTuple):
    """Logits ``(n,)`` or, with class indices, ``(rows, classes)``.

    Attributes:
        dense: 1 and 0 in the shape of logits, for what reads no class indices.
        errors: one for each row, or for each positive of dense targets.
    """

    logits: Tensor
    targets: Tensor
    dense: Tensor
    errors: Tensor

    @property
    def reading(self) -> dict[str, bool]:
        return dict(class_indices=self.logits.ndim == 2)


def make_batch(
    size: int,
    positives: int,
    regime: str,
    *,
    seed: int,
    device: str,
    classes: int = 0,
    dtype: torch.dtype = torch.float32,
) -> Batch:
    """``size`` scores, less what does not fill a row of ``classes`` (0: none)."""
    generator = torch.Generator().manual_seed(seed)
    mean, std, positive_mean, positive_std = REGIMES[regime]
    shape = (size // classes, classes) if classes else (size,)
    logits = torch.randn(shape, generator=generator) * std + mean
    chosen = torch.randperm(shape[0], generator=generator)[:positives]
    place = (chosen,)
    if classes:
        place = chosen, torch.randint(0, classes, chosen.shape, generator=generator)
    logits[place] = torch.randn(positives, generator=generator) * positive_std + positive_mean
    dense = torch.zeros(shape, dtype=torch.int64)
    dense[place] = 1
    targets = dense
    if classes:
        targets = torch.full(shape[:1], classes)
        targets[chosen] = place[1]
    errors = torch.rand(shape[0] if classes else positives, generator=generator)
    logits = logits.to(device, dtype).requires_grad_()
    return Batch(logits, targets.to(device), dense.to(device), errors.to(device))


def make_losses(batch: Batch, loop: bool) -> dict[str, Callable[[], Tensor]]:
    """Every loss as a call without arguments."""
    logits, targets, dense, errors = batch
    reading = batch.reading
    as_float = dense.to(logits.dtype)
    pairs = dense.view(-1)[: dense.numel() // 2 * 2].view(-1, 2)
    copied = torch.empty_like(logits)
    losses = {
        'focal': lambda: torchvision.ops.sigmoid_focal_loss(logits, as_float, reduction='sum'),
        'copy': lambda: copied.copy_(logits.detach()),
        'ap': lambda: F.ap_loss(logits, targets, **reading),
        'ap_plain': lambda: F.ap_loss(logits, targets, interpolated=False, **reading),
        'ap_heaviside': lambda: F.ap_loss(logits, targets, delta=0, **reading),
        'ap_sigmoid': lambda: F.ap_loss(logits, targets, step='sigmoid', **reading),
        'auc': lambda: F.auc_loss(logits, targets, **reading),
        'alrp': lambda: sum(F.alrp_loss(logits, targets, errors, **reading)),
        'dr': lambda: F.dr_loss(logits, targets, **reading),
        'ohem_sigmoid': lambda: F.ohem_cross_entropy_loss(
            logits, targets, use_sigmoid=True, **reading
        ),
        # Pairs of scores as one class and background.
        'ohem_softmax': lambda: F.ohem_cross_entropy_loss(
            logits.view(-1)[: len(pairs) * 2].view(-1, 2), 1 - pairs.amax(1)
        ),
        'approx_ap': lambda: F.approx_ap_loss(logits, targets, **reading),
        'structured_hinge': lambda: F.structured_hinge_ap_loss(logits, targets, **reading),
    }
    if has_compiled_mmcv():
        from mmcv.ops import sigmoid_focal_loss

        # Rows of one logit are of class 0, or of background, 1.
        rows, labels = (
            (logits, targets) if reading['class_indices'] else (logits[:, None], 1 - dense)
        )
        losses['focal_mmcv'] = lambda: sigmoid_focal_loss(rows, labels, 2.0, 0.25, None, 'sum')
    if loop:
        sys.path.insert(0, str(ROOT))
        from tools.benchmarks import loops

        flat = logits.view(-1), dense.view(-1)
        losses['loop'] = lambda: drop(loops.float64(*flat))
        losses['loop_float32'] = lambda: drop(loops.float32(*flat))
    return losses


def has_compiled_mmcv() -> bool:
    """Whether there is a fused focal loss to compare with.

    Where there is none, rankdet.compat serves a stand-in, which lies in no file.
    """
    spec = importlib.util.find_spec('mmcv') and importlib.util.find_spec('mmcv._ext')
    return bool(spec and spec.has_location)


# What takes as long as it takes: runs again only while it has run for less than a second.
LOOPS = ('loop', 'loop_float32')
# Those that have fused kernels.
FUSED = ('ap', 'ap_plain', 'ap_heaviside', 'auc', 'alrp', 'dr')


def by(choice: str, loss: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """The loss with the fused kernels (``'triton'``) or without (``'torch'``)."""

    def call() -> Tensor:
        with F.use_kernels(choice):
            return loss()

    return call


def drop(result: object) -> None:
    """Of a loop, which gives value and gradient: there is nothing left for a backward pass."""


def run_once(loss: Callable[[], Tensor | None], logits: Tensor) -> tuple[float, float]:
    """Seconds, and processor seconds of all threads, of one forward and backward."""
    logits.grad = None
    is_cuda = logits.device.type == 'cuda'
    if is_cuda:
        torch.cuda.synchronize()
    start, processor_start = time.perf_counter(), time.process_time()
    value = loss()
    if value is not None and value.requires_grad:
        value.backward()
    if is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start, time.process_time() - processor_start


def graph_ms(loss: Callable[[], Tensor], logits: Tensor, repeats: int) -> float | None:
    """Best time of a CUDA graph of one forward and backward; None where none can be captured."""
    logits.grad = None
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(2):
            torch.autograd.grad(loss(), logits)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            torch.autograd.grad(loss(), logits)
    except RuntimeError:  # it asks the device for a number
        torch.cuda.synchronize()
        return None
    times = []
    for _ in range(repeats):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end))
    return min(times)


def peak_bytes(loss: Callable[[], Tensor | None], logits: Tensor) -> int | None:
    """Memory that one forward and backward adds at its peak, the gradient included."""
    logits.grad = None
    if logits.device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats()
        # As asked for: the allocator rounds the blocks that it gives up to 2 MiB.
        before = torch.cuda.memory_stats()['requested_bytes.all.current']
        run_once(loss, logits)
        return torch.cuda.memory_stats()['requested_bytes.all.peak'] - before
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


def nontrivial_share(batch: Batch, delta: float = 1.0) -> float:
    """Share of the negatives within delta of the lowest positive, or above."""
    scores = batch.logits.detach().float()
    negatives = scores[batch.dense == 0]
    if not batch.dense.any():
        return 0.0
    return (negatives >= scores[batch.dense == 1].min() - delta).float().mean().item()


def describe_run(device: str) -> dict:
    """Where and with what a row was measured."""
    name = torch.cuda.get_device_name() if device == 'cuda' else _processor()
    return dict(
        device=name,
        threads=torch.get_num_threads() if device == 'cpu' else None,
        torch=torch.__version__,
        torchvision=torchvision.__version__,
        triton=_version('triton'),
        python=platform.python_version(),
        commit=_commit(),
    )


def _commit() -> str | None:
    """The commit, with ``+changes`` where code differs from it; records do not count."""
    head, status = (
        subprocess.run(['git', *command], cwd=ROOT, capture_output=True, text=True).stdout.strip()
        for command in (
            ['rev-parse', '--short', 'HEAD'],
            ['status', '--porcelain', '--', '*.py'],
        )
    )
    return (head + '+changes' * bool(status)) or None


def _processor() -> str:
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
        return next(line.split(': ')[1] for line in lines if line.startswith('model name'))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def benchmark(size: int, positives: int, regime: str, args: argparse.Namespace) -> list[dict]:
    """One row per loss and backend."""
    dtype = getattr(torch, args.dtype)
    batch = make_batch(
        size, positives, regime,
        seed=args.seed, device=args.device, classes=args.classes, dtype=dtype,
    )  # fmt: skip
    logits, losses = batch.logits, make_losses(batch, args.loop)
    chosen = {}
    for name in args.losses:
        backends = args.backends if name in FUSED else [None]
        for backend in backends:
            loss = losses[name]
            chosen[name, backend] = by(backend, loss) if backend else loss
    share = nontrivial_share(batch)
    print(
        f'\n{regime}, {logits.numel()} scores, {positives} positives, '
        f'{share:.1%} non-trivial negatives'
    )
    memory = {  # and a warm-up
        key: None if key[0] in LOOPS else peak_bytes(loss, logits) for key, loss in chosen.items()
    }
    seconds: dict[tuple, list[tuple[float, float]]] = {key: [] for key in chosen}
    for _ in range(args.repeats):
        for key, loss in chosen.items():
            if key[0] in LOOPS and sum(wall for wall, _ in seconds[key]) > 1:
                continue
            seconds[key].append(run_once(loss, logits))
    best = {key: tuple(map(min, zip(*times))) for key, times in seconds.items()}
    rows = []
    for (name, backend), times in seconds.items():
        wall, processor = best[name, backend]
        ratio, processor_ratio = (
            mine / focal for mine, focal in zip(best[name, backend], best['focal', None])
        )
        to_copy = wall / best['copy', None][0]
        megabytes = memory[name, backend]
        megabytes = float('nan') if megabytes is None else megabytes / 2**20
        graph = None
        if args.device == 'cuda' and backend == 'triton':
            graph = graph_ms(chosen[name, backend], logits, args.repeats)
        print(
            f'  {name:16s} {backend or "":6s} {wall * 1e3:9.2f} ms {ratio:7.2f} x   processor '
            f'{processor * 1e3:9.1f} ms {processor_ratio:7.2f} x   copy {to_copy:6.1f} x '
            f'{megabytes:7.0f} MiB' + (f'   graph {graph:.3f} ms' if graph else '')
        )
        rows.append(
            dict(
                loss=name,
                backend=backend,
                regime=regime,
                size=logits.numel(),
                classes=args.classes or None,
                dtype=args.dtype,
                positives=positives,
                nontrivial=round(share, 4),
                best_ms=round(wall * 1e3, 3),
                median_ms=round(statistics.median(wall for wall, _ in times) * 1e3, 3),
                graph_ms=graph and round(graph, 4),
                processor_ms=round(processor * 1e3, 3),
                repeats=len(times),
                ratio_to_focal=round(ratio, 3),
                processor_ratio_to_focal=round(processor_ratio, 3),
                ratio_to_copy=round(to_copy, 3),
                peak_bytes=memory[name, backend],
                gradient_bytes=logits.numel() * logits.element_size(),
                seed=args.seed,
                load=round(os.getloadavg()[0], 1) if hasattr(os, 'getloadavg') else None,
            )
        )
    return rows


def main() -> None:
    names = list(make_losses(make_batch(2, 1, 'start', seed=0, device='cpu'), loop=False))
    usual = ['ap', 'auc', 'alrp', 'dr', 'ohem_sigmoid', 'focal_mmcv']
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--sizes', type=int, nargs='+', help='2,600,000; on CUDA 20,951,040')
    parser.add_argument('--positives', type=int, nargs='+', help='CPU 100 1000 10000, '
                        'CUDA 300 1500 10000')  # fmt: skip
    parser.add_argument('--regimes', nargs='+', choices=REGIMES, default=list(REGIMES))
    parser.add_argument(
        '--classes', type=int, help='class indices for so many classes; 0, dense targets; CPU 0, '
        'CUDA 80'
    )  # fmt: skip
    parser.add_argument('--dtype', choices=['float32', 'bfloat16', 'float16'], default='float32')
    parser.add_argument(
        '--losses',
        nargs='+',
        choices=names,
        default=[name for name in usual if name in names],
        help='names as printed; focal and copy are always there',
    )
    parser.add_argument(
        '--backends', nargs='+', choices=['torch', 'triton'],
        help='plain torch, the fused kernels; CUDA: both',
    )  # fmt: skip
    parser.add_argument('--loop', action='store_true', help="also time Algorithm 1's loops")
    parser.add_argument('--repeats', type=int, default=9)
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cpu')
    parser.add_argument('--threads', type=int, help="of the CPU; the default is torch's")
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--out', type=Path, help='JSON lines file to append the rows to')
    args = parser.parse_args()
    is_cuda = args.device == 'cuda'
    if is_cuda and not torch.cuda.is_available():
        parser.error('--device cuda: torch finds no GPU')
    args.sizes = args.sizes or [261_888 * 80 if is_cuda else 2_600_000]
    args.positives = args.positives or [300 if is_cuda else 100, 1500 if is_cuda else 1000, 10_000]
    args.classes = (80 if is_cuda else 0) if args.classes is None else args.classes
    rows = min(args.sizes) // (args.classes or 1)
    if max(args.positives) > rows:
        parser.error(f'--positives {max(args.positives)}: the smallest size has {rows} rows')
    args.backends = args.backends or (['torch', 'triton'] if is_cuda else ['torch'])
    others = [name for name in args.losses if name not in ('focal', 'copy')]
    args.losses = ['focal', 'copy', *others, *(LOOPS if args.loop else ())]
    if args.threads:
        torch.set_num_threads(args.threads)
    where = describe_run(args.device)
    where['mmcv_compiled'] = has_compiled_mmcv()
    where['command'] = ' '.join(['python', *sys.argv])
    print(json.dumps(where))
    for size in args.sizes:
        for positives in args.positives:
            for regime in args.regimes:
                rows = benchmark(size, positives, regime, args)
                if args.out:
                    with args.out.open('a') as file:
                        file.writelines(json.dumps(row | where) + '\n' for row in rows)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


if __name__ == '__main__':
    main()
