"""'global' ranking over processes: the bytes that it moves, counted, and its time.

    python -m tools.benchmarks.benchmark_global --out tools/benchmarks/global.jsonl
    python -m tools.benchmarks.benchmark_global --device cuda --positives 1500 \
        --out tools/benchmarks/global.jsonl

So many processes, of gloo on a CPU, of NCCL with a GPU each, rank scores of their own together.
Every collective that they call is counted by the tensors that it is given. A row is one loss on so
many processes:

``collectives`` is how many a process calls, ``gathered_bytes`` what it gives to those that gather,
``reduced_bytes`` what it gives to those that add up. ``sent_bytes`` is what leaves a process where
collectives go round a ring, as they do on GPUs: (k - 1) times what is gathered, and 2 (k - 1) / k
of what is added up. :func:`formula` says all of them on paper.

``batch_ms`` is the same loss with each process ranking alone, all at the same time; ``global_ms``
together, in turns with the former: medians of the slowest process. ``collective_ms`` is the part of
the latter spent in collectives, of the process that spends the least there. What it has beyond
latency and bytes is waiting for processes that were slower just then. ``latency_ms`` and
``bytes_a_second`` are of the collectives with nothing else to do, for the model
(``global_model.py``): one of the log2(k) steps of a collective of one number, and how fast a
mebibyte is gathered and added up. Where there are more processes than cores, or GPUs, there are no
times.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from rankdet import functional as F
from tools.benchmarks.benchmark_losses import describe_run, make_batch

LOSSES = ('ap', 'auc', 'alrp')
# Bytes of an int64, of a float64, and of a score that the kernels gather.
LENGTH, NUMBER, NUMBER_OF_KERNELS = 8, 8, 4


class Traffic(NamedTuple):
    """What one process gives to the collectives of one loss, in bytes."""

    collectives: int
    gathered: int
    reduced: int

    def sent(self, processes: int) -> float:
        """What leaves the process where collectives go round a ring."""
        return (processes - 1) * (self.gathered + 2 * self.reduced / processes)


def formula(loss: str, positives: list[int], number: int = NUMBER) -> Traffic:
    """On paper, from the positives of each process and the bytes of a gathered number.

    A gather of one vector, of the scores and for aLRP of the errors, is one of lengths and one of
    vectors as long as the longest. FP is added up, one number for each positive of all processes;
    for AUC |N|, too.
    """
    vectors = 2 if loss == 'alrp' else 1
    gathered = vectors * (LENGTH + number * max(positives))
    reduced = NUMBER * sum(positives) + (NUMBER if loss == 'auc' else 0)
    # Without a positive anywhere there is nothing to add up.
    sums = (loss == 'auc') + (sum(positives) > 0)
    return Traffic(2 * vectors + sums, gathered, reduced)


class Counter:
    """Counts the collectives that are called within it."""

    def __init__(self, device: str = 'cpu') -> None:
        self.device = device
        self.calls = self.gathered = self.reduced = 0
        self.seconds = 0.0

    @property
    def traffic(self) -> Traffic:
        return Traffic(self.calls, self.gathered, self.reduced)

    @contextmanager
    def counting(self) -> Iterator[Counter]:
        all_gather, all_reduce = dist.all_gather, dist.all_reduce

        def gather(parts: list[Tensor], own: Tensor, *args, **options):
            self.gathered += own.nbytes
            return self._timed(all_gather, parts, own, *args, **options)

        def reduce(own: Tensor, *args, **options):
            self.reduced += own.nbytes
            return self._timed(all_reduce, own, *args, **options)

        dist.all_gather, dist.all_reduce = gather, reduce
        try:
            yield self
        finally:
            dist.all_gather, dist.all_reduce = all_gather, all_reduce

    def _timed(self, call: Callable, *args, **options):
        wait(self.device)
        start = time.perf_counter()
        result = call(*args, **options)
        wait(self.device)
        self.seconds += time.perf_counter() - start
        self.calls += 1
        return result


def compute(loss: str, logits: Tensor, targets: Tensor, errors: Tensor, scope: str) -> None:
    """Forward and backward."""
    logits.grad = None
    if loss == 'alrp':
        value = sum(F.alrp_loss(logits, targets, errors, scope=scope))
    else:
        value = {'ap': F.ap_loss, 'auc': F.auc_loss}[loss](logits, targets, scope=scope)
    value.backward()


def take_turns(calls: list[Callable[[], None]], repeats: int, device: str) -> list[list[float]]:
    """Times of each of the calls, which all processes begin together, in ms.

    Of the slowest process; the first turn warms up.
    """
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(repeats + 1):
        for call, taken in zip(calls, times):
            dist.barrier()
            wait(device)
            start = time.perf_counter()
            call()
            wait(device)
            slowest = torch.tensor(time.perf_counter() - start, device=device)
            dist.all_reduce(slowest, op=dist.ReduceOp.MAX)
            taken.append(slowest.item() * 1e3)
    return [taken[1:] for taken in times]


def wait(device: str) -> None:
    if device == 'cuda':
        torch.cuda.synchronize()


def measure_link(k: int, repeats: int, device: str) -> tuple[float, float]:
    """Milliseconds of a step of a collective, and bytes a second, with nothing else to do."""
    size = 2**17
    one, many = (torch.zeros(n, dtype=torch.float64, device=device) for n in (1, size))

    def gather(own: Tensor) -> None:
        dist.all_gather([torch.empty_like(own) for _ in range(k)], own)

    calls = [
        lambda: gather(one),
        lambda: dist.all_reduce(one),
        lambda: gather(many),
        lambda: dist.all_reduce(many),
    ]
    gathered, added, more_gathered, more_added = map(min, take_turns(calls, 3 * repeats, device))
    moving = max(more_gathered + more_added - gathered - added, 1e-6)
    sent = Traffic(2, many.nbytes, many.nbytes).sent(k)
    return (gathered + added) / 2 / math.log2(k), sent / moving * 1e3


def work(rank: int, k: int, store: str, options: dict, out: str) -> None:
    """One process; the first writes the rows."""
    torch.set_num_threads(1)
    is_cuda = options['device'] == 'cuda'
    if is_cuda:
        torch.cuda.set_device(rank)
    backend = 'nccl' if is_cuda else 'gloo'
    dist.init_process_group(backend, f'file://{store}', rank=rank, world_size=k)
    try:
        rows = [
            measure(loss, positives, rank, k, options)
            for positives in options['positives']
            for loss in options['losses']
        ]
    finally:
        dist.destroy_process_group()
    if rank == 0:
        Path(out).write_text(json.dumps(rows))


def blank(loss: str, first: int, k: int, options: dict) -> dict:
    """A row before anything was measured. Each process has 10 positives more than the one before.

    Shares of unlike sizes: the formula must hold for any.
    """
    choice = F.kernels_in_use()
    by_kernels = choice == 'triton' or (choice == 'auto' and options['device'] == 'cuda')
    positives = [first + 10 * other for other in range(k)]
    number = NUMBER_OF_KERNELS if by_kernels else NUMBER
    expected = formula(loss, positives, number)
    return dict(
        loss=loss,
        processes=k,
        size=options['size'],
        positives=first,
        all_positives=sum(positives),
        number_bytes=number,
        collectives=None,
        gathered_bytes=None,
        reduced_bytes=None,
        sent_bytes=None,
        formula_bytes=expected.gathered + expected.reduced,
        as_formula=None,
        batch_ms=None,
        global_ms=None,
        collective_ms=None,
        latency_ms=None,
        bytes_a_second=None,
        reason=None,
    )


def too_many(k: int, device: str) -> str | None:
    """Why there are no times of so many processes."""
    if device == 'cuda':
        there, what = torch.cuda.device_count(), 'GPUs'
    else:
        what = 'cores'
        there = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    return f'{k} processes on {there} {what}' if k > there else None


def measure(loss: str, first: int, rank: int, k: int, options: dict) -> dict:
    device, repeats = options['device'], options['repeats']
    row = blank(loss, first, k, options)
    positives = [first + 10 * other for other in range(k)]
    own = make_batch(options['size'], positives[rank], options['regime'], seed=rank, device=device)
    inputs = own.logits, own.targets, own.errors
    counter = Counter()
    with counter.counting():
        compute(loss, *inputs, 'global')
    row |= dict(
        collectives=counter.calls,
        gathered_bytes=counter.gathered,
        reduced_bytes=counter.reduced,
        sent_bytes=round(counter.traffic.sent(k)),
        as_formula=counter.traffic == formula(loss, positives, row['number_bytes']),
        reason=too_many(k, device),
    )
    if row['reason']:
        return row
    seconds = []

    def watched() -> None:
        # Apart from the other calls: a GPU is waited for at each collective.
        clock = Counter(device)
        with clock.counting():
            compute(loss, *inputs, 'global')
        seconds.append(clock.seconds)

    alone, together, _ = take_turns(
        [
            lambda: compute(loss, *inputs, 'batch'),
            lambda: compute(loss, *inputs, 'global'),
            watched,
        ],
        repeats,
        device,
    )
    least = torch.tensor(seconds[1:], dtype=torch.float64, device=device)
    dist.all_reduce(least, op=dist.ReduceOp.MIN)
    latency, bandwidth = measure_link(k, repeats, device)
    return row | dict(
        batch_ms=round(median(alone), 3),
        global_ms=round(median(together), 3),
        collective_ms=round(median(least.tolist()) * 1e3, 3),
        latency_ms=round(latency, 4),
        bytes_a_second=round(bandwidth),
    )


def run(processes: int, options: dict) -> list[dict]:
    """The rows of so many processes; with too few GPUs they are blank."""
    if options['device'] == 'cuda' and too_many(processes, 'cuda'):
        return [
            blank(loss, positives, processes, options) | dict(reason=too_many(processes, 'cuda'))
            for positives in options['positives']
            for loss in options['losses']
        ]
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, 'rows')
        mp.spawn(work, (processes, os.path.join(folder, 'store'), options, out), processes)
        return json.loads(Path(out).read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--processes', type=int, nargs='+', default=[2, 4, 8])
    parser.add_argument('--losses', nargs='+', choices=LOSSES, default=list(LOSSES))
    parser.add_argument('--size', type=int, default=1_000_000, help='scores of each process')
    parser.add_argument('--positives', type=int, nargs='+', default=[1000, 10_000],
                        help='of the first process; each further one has 10 more')  # fmt: skip
    parser.add_argument('--regime', default='start', choices=['start', 'middle', 'trained'])
    parser.add_argument('--repeats', type=int, default=7)
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cpu')
    parser.add_argument('--out', type=Path, help='JSON lines file to append the rows to')
    args = parser.parse_args()
    if args.device == 'cuda' and not torch.cuda.is_available():
        parser.error('--device cuda: torch finds no GPU')
    if min(args.processes) < 2:
        parser.error(f'--processes {min(args.processes)}: 2 or more rank together')
    options = dict(
        losses=args.losses, size=args.size, positives=args.positives, regime=args.regime,
        repeats=args.repeats, device=args.device,
    )  # fmt: skip
    where = describe_run(args.device)
    where |= dict(kernels=F.kernels_in_use(), threads=None if args.device == 'cuda' else 1)
    where['command'] = ' '.join(['python -m tools.benchmarks.benchmark_global', *sys.argv[1:]])
    for processes in args.processes:
        load = round(os.getloadavg()[0], 1) if hasattr(os, 'getloadavg') else None
        for row in run(processes, options):
            row |= dict(regime=args.regime, repeats=args.repeats, load=load)
            print(json.dumps(row), flush=True)
            if args.out:
                with args.out.open('a') as file:
                    file.write(json.dumps(row | where) + '\n')


if __name__ == '__main__':
    main()
