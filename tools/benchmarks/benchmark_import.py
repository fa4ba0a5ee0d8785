"""How long a fresh Python takes to import the losses, and torch before them.

    python -m tools.benchmarks.benchmark_import --out tools/benchmarks/imports.jsonl

Every import has a process of its own; the two take turns, and the median of each is kept.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from tools.benchmarks.benchmark_losses import ROOT, describe_run

CODE = """
import time
began = time.perf_counter(), time.process_time()
import torch
middle = time.perf_counter(), time.process_time()
import rankdet.functional
ended = time.perf_counter(), time.process_time()
print(*[b - a for a, b in zip(began + middle, middle + ended)])
"""


def measure() -> list[float]:
    """Seconds of torch by the clock and by the processor, then those of the losses."""
    done = subprocess.run(
        [sys.executable, '-c', CODE], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [float(word) for word in done.stdout.split()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--repeats', type=int, default=9)
    parser.add_argument('--out', type=Path, help='JSON lines file to append the row to')
    args = parser.parse_args()
    measure()  # files come into the cache of the system
    times = zip(*[measure() for _ in range(args.repeats)])
    names = ('torch_s', 'torch_processor_s', 'losses_s', 'losses_processor_s')
    row = describe_run('cpu') | {
        name: round(statistics.median(column), 4) for name, column in zip(names, times)
    }
    row |= dict(
        repeats=args.repeats,
        load=round(os.getloadavg()[0], 1) if hasattr(os, 'getloadavg') else None,
        command=' '.join(['python', '-m', 'tools.benchmarks.benchmark_import', *sys.argv[1:]]),
    )
    print(json.dumps(row))
    if args.out:
        with args.out.open('a') as file:
            file.write(json.dumps(row) + '\n')


if __name__ == '__main__':
    main()
