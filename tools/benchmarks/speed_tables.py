"""The tables of docs/speed.md from the records beside this file.

    python -m tools.benchmarks.speed_tables          # write them into the page
    python -m tools.benchmarks.speed_tables --check  # or say whether they are there

A table stands between ``<!-- NAME -->`` and ``<!-- end -->``. What was not measured is blank.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from pathlib import Path

from tools.benchmarks.benchmark_losses import ROOT
from tools.benchmarks.benchmark_scale import curves, exponents

RECORDS = Path(__file__).parent
PAGE = ROOT / 'docs/speed.md'
REGIMES = ('start', 'middle', 'trained')
DETECTORS = ('retinanet', 'retinanet-atss', 'foveabox', 'faster-rcnn', 'ssd512')
# Of a link, a collective's step and a process, for the model of many GPUs.
BYTES_A_SECOND, STEP_SECONDS, POSITIVES = 50e9, 20e-6, 1500


def read(name: str, on_gpu: bool = False) -> list[dict]:
    """The rows of a record that were measured on a GPU, or on a CPU."""
    path = RECORDS / f'{name}.jsonl'
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [row for row in rows if (row['threads'] is None) == on_gpu]


def table(header: list[str], rows: list[list[object]]) -> str:
    lines = [header, ['---'] * len(header), *rows]
    return '\n'.join('| ' + ' | '.join(map(show, line)) + ' |' for line in lines)


def show(value: object) -> str:
    if isinstance(value, float):
        return f'{value:.2f}' if value < 10 else f'{value:,.0f}'
    return '' if value is None else f'{value:,}' if isinstance(value, int) else str(value)


def losses(on_gpu: bool) -> str:
    """Best times over that of focal loss, regime by regime."""
    found = [row for row in read('losses', on_gpu) if on_gpu or not row['classes']]
    if not on_gpu:  # the loop has a table of its own
        loops = {row['command'] for row in found if row['loss'] == 'loop'}
        found = [row for row in found if row['command'] not in loops]
    chosen = ('ap', 'alrp', 'dr')
    wanted = (300, 1500, 10_000) if on_gpu else (100, 1000, 10_000)
    lines = []
    for threads in (None,) if on_gpu else (1, 2):
        for regime in REGIMES:
            for positives in wanted:
                point = {
                    row['loss']: row
                    for row in found
                    if (row['threads'], row['regime'], row['positives'])
                    == (threads, regime, positives)
                    and row['backend'] in (None, 'triton' if on_gpu else 'torch')
                }
                focal = point.get('focal', {})
                ratios = [point.get(name, {}).get('ratio_to_focal') for name in chosen]
                extra = [point.get(name, {}).get('processor_ratio_to_focal') for name in chosen]
                if on_gpu:
                    fused = point.get('focal_mmcv', {}).get('best_ms')
                    extra = [
                        point[name]['best_ms'] / fused if fused and name in point else None
                        for name in chosen
                    ] + [point.get('ap', {}).get('ratio_to_copy')]
                lines.append(
                    [*([] if on_gpu else [threads]), regime, positives, focal.get('best_ms')]
                    + ratios + extra + [focal.get('load')]
                )  # fmt: skip
    head = [] if on_gpu else ['threads']
    more = [f'{name} / mmcv' for name in chosen] + ['AP / copy'] if on_gpu else [
        f'{name}, processor' for name in ('AP', 'aLRP', 'DR')
    ]  # fmt: skip
    return table(
        [*head, 'regime', 'positives', 'focal ms', 'AP', 'aLRP', 'DR', *more, 'load'], lines
    )


def loop() -> str:
    """Algorithm 1's loop beside AP Loss."""
    rows = [row for row in read('losses') if row['loss'] in ('ap', 'loop')]
    together = {row['command'] for row in rows if row['loss'] == 'loop'}
    point = {(row['regime'], row['loss']): row for row in rows if row['command'] in together}
    lines = []
    for regime in REGIMES:
        ours, slow = (point.get((regime, loss), {}).get('best_ms') for loss in ('ap', 'loop'))
        lines.append([regime, 100, ours, slow, slow / ours if slow else None])
    return table(['regime', 'positives', 'AP ms', 'loop ms', 'times faster'], lines)


def steps(on_gpu: bool) -> str:
    """Complete iterations."""
    found = {(row['detector'], row['loss']): row for row in read('steps', on_gpu)}
    unit = '' if on_gpu else 'processor_'
    lines = []
    for detector in DETECTORS:
        usual = ['focal', 'ap', 'alrp', 'dr'] + ['stock'] * (detector == 'faster-rcnn')
        for loss in usual:
            row = found.get((detector, loss), {})
            memory = row.get('peak_bytes')
            whole = row.get('iteration_ms' if on_gpu else 'processor_ms')
            share, targets = row.get('share'), row.get('share_of_targets')
            lines.append([
                detector, loss, row.get('size'), row.get('images'), whole,
                row.get('ratio_to_focal'), row.get(f'loss_{unit}ms'), percent(share),
                row.get(f'targets_{unit}ms'), percent(targets), memory and memory >> 20,
            ])  # fmt: skip
    header = [
        'detector', 'loss', 'size', 'images', 'iteration ms', 'to focal', 'loss ms', 'of it',
        'targets ms', 'of it', 'peak MiB',
    ]  # fmt: skip
    return table(header, lines)


def percent(share: float | None) -> str | None:
    return None if share is None else f'{share:.1%}'


def scale() -> str:
    """Processor's time along N and along P."""
    rows = read('scale')
    found = curves(rows, 'cpu')
    slopes = exponents(found)
    lines = []
    for axis in ('size', 'positives'):
        for key, points in found.items():
            if key[0] == axis:
                first, last = points[0], points[-1]
                what = 'N' if axis == 'size' else 'P'
                spans = f'{show(first[0])} to {show(last[0])}'
                lines.append([what, spans, key[1], key[2], first[1], last[1], slopes.get(key)])
    return table(['grows', 'from, to', 'regime', 'loss', 'first ms', 'last ms', 'exponent'], lines)


def missing() -> str:
    """Points of the scale without a time."""
    rows = [row for row in read('scale') if row['reason']]
    lines = [
        [row['size'], row['positives'], row['regime'], row['loss'], row['reason']] for row in rows
    ]
    return table(['N', 'P', 'regime', 'loss', 'reason'], lines) if lines else 'None is missing.'


def together() -> str:
    """Bytes and times of 'global' ranking."""
    lines = [
        [
            row['loss'], row['processes'], row['all_positives'], row['collectives'],
            row['gathered_bytes'], row['reduced_bytes'], row['sent_bytes'],
            'yes' if row['as_formula'] else 'no', row['batch_ms'], row['global_ms'],
            row['collective_ms'], row['paper_ms'], row['reason'],
        ]
        for row in read('global')
    ]  # fmt: skip
    header = [
        'loss', 'processes', 'positives of all', 'collectives', 'gathered bytes', 'reduced bytes',
        'sent bytes', 'as on paper', 'batch ms', 'global ms', 'of it collectives', 'model ms',
        'blank because',
    ]  # fmt: skip
    return table(header, lines)


def many_gpus() -> str:
    """The model: aLRP Loss by the kernels, which gather scores and errors as float32."""
    lines = []
    for k in (8, 64, 256, 1024, 4096):
        gathered = 2 * (8 + 4 * POSITIVES)
        sent = (k - 1) * (gathered + 2 * 8 * POSITIVES)
        waiting = 5 * STEP_SECONDS * math.log2(k) * 1e3
        moving = sent / BYTES_A_SECOND * 1e3
        lines.append([k, k * POSITIVES, sent / 2**20, waiting, moving, waiting + moving])
    header = ['GPUs', 'positives of all', 'sent MiB', 'latency ms', 'transfer ms', 'together ms']
    return table(header, lines)


TABLES = {
    'losses on a cpu': lambda: losses(False),
    'losses on a gpu': lambda: losses(True),
    'loop': loop,
    'steps on a cpu': lambda: steps(False),
    'steps on a gpu': lambda: steps(True),
    'scale': scale,
    'missing points': missing,
    'global': together,
    'many gpus': many_gpus,
}


def fill(page: str) -> str:
    """The page with its tables as the records have them."""

    def one(match: re.Match) -> str:
        return f'<!-- {match[1]} -->\n\n{TABLES[match[1]]()}\n\n<!-- end -->'

    return re.sub(r'<!-- (?!end)([^>]*?) -->.*?<!-- end -->', one, page, flags=re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--check', action='store_true', help='write nothing; 1 if tables are old')
    args = parser.parse_args()
    page = PAGE.read_text()
    filled = fill(page)
    if args.check:
        sys.exit(int(filled != page))
    PAGE.write_text(filled)


if __name__ == '__main__':
    main()
