"""'global' ranking over processes: the bytes that it moves, counted, and its time.

    python -m tools.benchmarks.benchmark_global --out tools/benchmarks/global.jsonl

So many processes of gloo, each with scores of its own, rank together. Every collective that they
call is counted by the tensors that it is given. A row is one loss on so many processes:

``collectives`` is how many a process calls, ``gathered_bytes`` what it gives to those that gather,
``reduced_bytes`` what it gives to those that add up. ``sent_bytes`` is what leaves a process where
collectives go round a ring, as they do on GPUs: (k - 1) times what is gathered, and 2 (k - 1) / k
of what is added up. :func:`formula` says all of them on paper.

``batch_ms`` is the same loss with each process ranking alone, all at the same time; ``global_ms``
together; ``collective_ms`` the part of that spent in collectives, waiting included; ``paper_ms``
what the model expects: batch_ms with the positives of all processes in each, and the collectives
alone on tensors of these sizes. Where there are more processes than cores there are no times.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from rankdet import functional as F
from tools.benchmarks.benchmark_losses import describe_run, make_batch

LOSSES = ('ap', 'auc', 'alrp')
LENGTH = NUMBER = 8  # bytes of an int64, and of a float64


class Traffic(NamedTuple):
    """What one process gives to the collectives of one loss, in bytes."""

    collectives: int
    gathered: int
    reduced: int

    def sent(self, processes: int) -> float:
        """What leaves the process where collectives go round a ring."""
        return (processes - 1) * (self.gathered + 2 * self.reduced / processes)


def formula(loss: str, positives: list[int]) -> Traffic:
    """On paper, for plain torch, from the number of positives of each process.

    A gather of one vector, of the scores and for aLRP of the errors, is one of lengths and one of
    vectors as long as the longest. FP is added up, one number for each positive of all processes;
    for AUC |N|, too.
    """
    vectors = 2 if loss == 'alrp' else 1
    gathered = vectors * (LENGTH + NUMBER * max(positives))
    reduced = NUMBER * sum(positives) + (NUMBER if loss == 'auc' else 0)
    # Without a positive anywhere there is nothing to add up.
    sums = (loss == 'auc') + (sum(positives) > 0)
    return Traffic(2 * vectors + sums, gathered, reduced)


class Counter:
    """Counts the collectives that are called within it."""

    def __init__(self) -> None:
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
        start = time.perf_counter()
        result = call(*args, **options)
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


def collect(loss: str, positives: list[int]) -> None:
    """The collectives of a loss and nothing else."""
    longest, k = max(positives), len(positives)
    for _ in range(2 if loss == 'alrp' else 1):
        for own in (torch.zeros(1, dtype=torch.int64), torch.zeros(longest, dtype=torch.float64)):
            dist.all_gather([torch.empty_like(own) for _ in range(k)], own)
    dist.all_reduce(torch.zeros(sum(positives), dtype=torch.float64))
    if loss == 'auc':
        dist.all_reduce(torch.zeros(1, dtype=torch.int64))


def best(call: Callable[[], None], repeats: int) -> float:
    """Best time of a call that all processes begin together, of the slowest process."""
    times = []
    for _ in range(repeats):
        dist.barrier()
        start = time.perf_counter()
        call()
        taken = torch.tensor(time.perf_counter() - start)
        dist.all_reduce(taken, op=dist.ReduceOp.MAX)
        times.append(taken.item())
    return min(times) * 1e3


def work(rank: int, k: int, store: str, options: dict, out: str) -> None:
    """One process; the first writes the rows."""
    torch.set_num_threads(1)
    dist.init_process_group('gloo', f'file://{store}', rank=rank, world_size=k)
    try:
        rows = [measure(loss, rank, k, options) for loss in options['losses']]
    finally:
        dist.destroy_process_group()
    if rank == 0:
        Path(out).write_text(json.dumps(rows))


def measure(loss: str, rank: int, k: int, options: dict) -> dict:
    # Shares of unlike sizes: the formula must hold for any.
    positives = [options['positives'] + 10 * other for other in range(k)]
    own = make_batch(options['size'], positives[rank], options['regime'], seed=rank, device='cpu')
    inputs = own.logits, own.targets, own.errors
    counter = Counter()
    with counter.counting():
        compute(loss, *inputs, 'global')
    expected = formula(loss, positives)
    row = dict(
        loss=loss,
        processes=k,
        size=options['size'],
        positives=options['positives'],
        all_positives=sum(positives),
        collectives=counter.calls,
        gathered_bytes=counter.gathered,
        reduced_bytes=counter.reduced,
        sent_bytes=round(counter.traffic.sent(k)),
        formula_bytes=expected.gathered + expected.reduced,
        as_formula=counter.traffic == expected,
        batch_ms=None,
        global_ms=None,
        collective_ms=None,
        paper_ms=None,
        reason=None,
    )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    if k > cores:
        row['reason'] = f'{k} processes on {cores} cores'
        return row
    repeats = options['repeats']
    all_positives = make_batch(
        options['size'], sum(positives), options['regime'], seed=rank, device='cpu'
    )
    more = all_positives.logits, all_positives.targets, all_positives.errors
    counter = Counter()
    row['batch_ms'] = round(best(lambda: compute(loss, *inputs, 'batch'), repeats), 3)
    row['global_ms'] = round(best(lambda: compute(loss, *inputs, 'global'), repeats), 3)
    with counter.counting():
        compute(loss, *inputs, 'global')
    row['collective_ms'] = round(counter.seconds * 1e3, 3)
    alone = best(lambda: compute(loss, *more, 'batch'), repeats)
    row['paper_ms'] = round(alone + best(lambda: collect(loss, positives), repeats), 3)
    return row


def run(processes: int, options: dict) -> list[dict]:
    """The rows of so many processes."""
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, 'rows')
        mp.spawn(work, (processes, os.path.join(folder, 'store'), options, out), processes)
        return json.loads(Path(out).read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--processes', type=int, nargs='+', default=[2, 4, 8])
    parser.add_argument('--losses', nargs='+', choices=LOSSES, default=list(LOSSES))
    parser.add_argument('--size', type=int, default=1_000_000, help='scores of each process')
    parser.add_argument('--positives', type=int, default=1000, help='of the first process; each '
                        'further one has 10 more')  # fmt: skip
    parser.add_argument('--regime', default='start', choices=['start', 'middle', 'trained'])
    parser.add_argument('--repeats', type=int, default=7)
    parser.add_argument('--out', type=Path, help='JSON lines file to append the rows to')
    args = parser.parse_args()
    options = dict(
        losses=args.losses, size=args.size, positives=args.positives, regime=args.regime,
        repeats=args.repeats,
    )  # fmt: skip
    where = describe_run('cpu') | dict(threads=1)
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
