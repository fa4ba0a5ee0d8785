"""The tables of docs/speed.md and docs/choose_a_loss.md from the records beside this file.

    python -m tools.benchmarks.speed_tables          # write them into the pages
    python -m tools.benchmarks.speed_tables --check  # or say whether they are there

A table stands between ``<!-- NAME -->`` and ``<!-- end -->``. What was not measured is blank.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

from tools.benchmarks.benchmark_global import NUMBER_OF_KERNELS, formula
from tools.benchmarks.benchmark_losses import ROOT
from tools.benchmarks.benchmark_scale import curves, exponents
from tools.benchmarks.global_model import extra, work_on_positives

RECORDS = Path(__file__).parent
PAGE = ROOT / 'docs/speed.md'
PAGES = (PAGE, ROOT / 'docs/choose_a_loss.md')
REGIMES = ('start', 'middle', 'trained')
DETECTORS = ('retinanet', 'retinanet-atss', 'foveabox', 'faster-rcnn', 'ssd512')
# Assumed of a link, a collective's step and a process, for the model of many GPUs.
BYTES_A_SECOND, STEP_MS, POSITIVES = 50e9, 0.02, 1500
NAMES = {'ap': 'AP', 'alrp': 'aLRP', 'dr': 'DR'}
# Threads, classes (None: dense targets) and positives of the rows on a CPU, and those on a GPU.
ON_CPU = (
    (1, None, (100, 1000, 10_000)),
    (2, None, (100, 1000, 10_000)),
    (2, 80, (300, 1500, 10_000)),
)
ON_GPU = ((None, 80, (300, 1500, 10_000)),)


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


def points(on_gpu: bool) -> list[tuple[tuple, dict[str, dict]]]:
    """((threads, classes, regime, positives), the row of each loss), measured or not."""
    found = read('losses', on_gpu)
    if not on_gpu:  # the loops have a table of their own
        loops = {row['command'] for row in found if row['loss'] == 'loop'}
        found = [row for row in found if row['command'] not in loops]
    by_point: dict[tuple, dict[str, dict]] = {}
    for row in found:
        if row['backend'] in (None, 'triton' if on_gpu else 'torch') and row['dtype'] == 'float32':
            key = row['threads'], row['classes'], row['regime'], row['positives']
            by_point.setdefault(key, {})[row['loss']] = row
    keys = [
        (threads, classes, regime, positives)
        for threads, classes, several in (ON_GPU if on_gpu else ON_CPU)
        for regime in REGIMES
        for positives in several
    ]
    return [(key, by_point.get(key, {})) for key in keys]


def values(point: dict[str, dict], field: str) -> list[float | None]:
    return [point.get(name, {}).get(field) for name in NAMES]


def losses(on_gpu: bool) -> str:
    """Best times over that of focal loss, regime by regime."""
    lines = []
    for (threads, classes, regime, positives), point in points(on_gpu):
        focal = point.get('focal', {})
        fused = point.get('focal_mmcv', {}).get('best_ms')
        lines.append(
            [
                *([] if on_gpu else [threads, classes or 'dense']),
                regime,
                positives,
                focal.get('best_ms'),
                *values(point, 'ratio_to_focal'),
                *(
                    [over(time, fused) for time in values(point, 'best_ms')]
                    if on_gpu
                    else values(point, 'processor_ratio_to_focal')
                ),
                focal.get('load'),
            ]
        )
    head = [] if on_gpu else ['threads', 'classes']
    more = [f'{name} / mmcv' if on_gpu else f'{name}, processor' for name in NAMES.values()]
    return table([*head, 'regime', 'positives', 'focal ms', *NAMES.values(), *more, 'load'], lines)


def limits() -> str:
    """On a GPU: times over that of a copy, peak memory over the gradient, and as a CUDA graph."""
    lines = []
    for (_, _, regime, positives), point in points(True):
        memory = [
            over(*pair)
            for pair in zip(values(point, 'peak_bytes'), values(point, 'gradient_bytes'))
        ]
        graph = values(point, 'graph_ms')
        copy = point.get('copy', {}).get('best_ms')
        lines.append([regime, positives, copy, *values(point, 'ratio_to_copy'), *memory, *graph])
    header = [f'{name} {what}' for what in ('/ copy', 'memory / gradient', 'graph ms')
              for name in NAMES.values()]  # fmt: skip
    return table(['regime', 'positives', 'copy ms', *header], lines)


def over(value: float | None, base: float | None) -> float | None:
    return None if value is None or not base else value / base


def loop(on_gpu: bool) -> str:
    """Algorithm 1's loops beside AP Loss, measured in the same run."""
    rows = [
        row
        for row in read('losses', on_gpu)
        if row['loss'] in ('loop', 'loop_float32')
        or (row['loss'] == 'ap' and row['backend'] == ('triton' if on_gpu else 'torch'))
    ]
    together = {row['command'] for row in rows if row['loss'] == 'loop'}
    point = {
        (row['regime'], row['positives'], row['loss']): row
        for row in rows
        if row['command'] in together
    }
    lines = []
    for regime in REGIMES:
        for positives in (300, 1500, 10_000) if on_gpu else (100, 1000):
            ours, slow, filtered = (
                point.get((regime, positives, loss), {}) for loss in ('ap', 'loop', 'loop_float32')
            )
            base = ours.get('best_ms')
            row = [regime, positives, base]
            for times in (slow.get('best_ms'), filtered.get('best_ms')):
                row += [times, over(times, base)]
            lines.append([*([] if on_gpu else [ours.get('threads')]), *row, ours.get('load')])
    header = [
        'regime', 'positives', 'AP ms', 'loop ms, float64', 'times faster',
        'loop ms, float32, non-trivial', 'times faster', 'load',
    ]  # fmt: skip
    return table([*([] if on_gpu else ['threads']), *header], lines)


def commands(*records: str) -> str:
    """What was run for the rows of records, as it was."""
    rows = [row for name in records for on_gpu in (False, True) for row in read(name, on_gpu)]
    return '\n'.join(['```bash', *dict.fromkeys(row['command'] for row in rows), '```'])


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
                row.get('load'),
            ])  # fmt: skip
    header = [
        'detector', 'loss', 'size', 'images', 'iteration ms', 'to focal', 'loss ms', 'of it',
        'targets ms', 'of it', 'peak MiB', 'load',
    ]  # fmt: skip
    return table(header, lines)


def percent(share: float | None) -> str | None:
    return None if share is None else f'{share:.1%}'


def scale(on_gpu: bool) -> str:
    """Processor's time, on a GPU the best time, along N and along P."""
    rows = read('scale', on_gpu)
    found = curves(rows, 'cuda' if on_gpu else 'cpu') if rows else {}
    slopes = exponents(found)
    lines = []
    spans = {'size': ('N', '100,000 to 100,000,000'), 'positives': ('P', '10 to 50,000')}
    for axis, (what, span) in spans.items():
        for regime in ('start', 'trained'):
            for loss in ('focal', *NAMES):
                key = axis, regime, loss
                first = last = (None, None)
                if key in found:
                    first, last = found[key][0], found[key][-1]
                    span = f'{show(first[0])} to {show(last[0])}'
                lines.append([what, span, regime, loss, first[1], last[1], slopes.get(key)])
    return table(['grows', 'from, to', 'regime', 'loss', 'first ms', 'last ms', 'exponent'], lines)


def missing() -> str:
    """Points of the scale without a time."""
    rows = [row for on_gpu in (False, True) for row in read('scale', on_gpu) if row['reason']]
    lines = [
        [row['device'], row['size'], row['positives'], row['regime'], row['loss'], row['reason']]
        for row in rows
    ]
    if not lines:
        return 'None is missing of the devices that were measured.'
    return table(['device', 'N', 'P', 'regime', 'loss', 'reason'], lines)


def together() -> str:
    """Bytes of 'global' ranking."""
    lines = [
        [
            row['loss'], row['processes'], row['all_positives'], row.get('number_bytes', 8),
            row['collectives'], row['gathered_bytes'], row['reduced_bytes'], row['sent_bytes'],
            'yes' if row['as_formula'] else 'no',
        ]
        for on_gpu in (False, True)
        for row in read('global', on_gpu)
        if row['collectives'] is not None
    ]  # fmt: skip
    header = [
        'loss', 'processes', 'positives of all', 'b', 'collectives', 'gathered bytes',
        'reduced bytes', 'sent bytes', 'as on paper',
    ]  # fmt: skip
    return table(header, lines)


def work_of(loss: str, regime: str, on_gpu: bool) -> Callable[[float], float] | None:
    """The work on positives, of the P axis as it was measured on the device."""
    rows = read('scale', on_gpu)
    found = curves(rows, 'cuda' if on_gpu else 'cpu') if rows else {}
    return work_on_positives(found.get(('positives', regime, loss), []))


def check() -> str:
    """The model beside what ranking together was measured to take more."""
    unknown = [
        dict(loss=loss, processes=k, device='GPU', reason='no GPU at hand')
        for k in (2, 4, 8)
        for loss in ('ap', 'alrp')
    ]
    lines = []
    for on_gpu in (False, True):
        for row in read('global', on_gpu) or (unknown if on_gpu else []):
            if row['loss'] == 'auc':  # the P axis has none
                continue
            cost: list[float | None] = [None] * 4
            if row.get('latency_ms') is not None:
                paper = extra(
                    row['loss'],
                    [row['positives'] + 10 * other for other in range(row['processes'])],
                    latency_ms=row['latency_ms'],
                    bytes_a_second=row['bytes_a_second'],
                    number=row['number_bytes'],
                    work=work_of(row['loss'], row['regime'], on_gpu),
                )
                cost = [*paper, paper.together]
            alone, ranked = row.get('batch_ms'), row.get('global_ms')
            more = None if alone is None or ranked is None else ranked - alone
            # What collectives took beyond their bytes: processes wait for the slowest of a turn.
            waits = own = None
            if more is not None and cost[0] is not None and cost[1] is not None:
                waits = row['collective_ms'] - cost[0] - cost[1]
                own = more - row['collective_ms']
            lines.append([
                row['device'], row['loss'], row['processes'], row.get('positives'), alone, ranked,
                more, *cost, waits, own, row.get('load'), row['reason'],
            ])  # fmt: skip
    header = [
        'device', 'loss', 'processes', 'positives', 'batch ms', 'global ms', 'more ms',
        'latency ms', 'transfer ms', 'work ms', 'model ms', 'waiting ms', 'own work ms', 'load',
        'blank because',
    ]  # fmt: skip
    return table(header, lines)


def many_gpus() -> str:
    """The model: aLRP Loss by the kernels, which gather scores and errors as float32."""
    core = work_of('alrp', 'start', False)
    gpu = work_of('alrp', 'start', True)
    lines = []
    for k in (8, 64, 256, 1024, 4096):
        positives = [POSITIVES] * k
        costs = [
            extra(
                'alrp', positives,
                latency_ms=STEP_MS, bytes_a_second=BYTES_A_SECOND, number=NUMBER_OF_KERNELS,
                work=work, ring=ring,
            )
            for work, ring in ((core, False), (core, True), (gpu, True))
        ]  # fmt: skip
        sent = formula('alrp', positives, NUMBER_OF_KERNELS).sent(k)
        network = costs[0].latency, costs[1].latency, costs[1].transfer
        works = [value for cost in costs[1:] for value in (cost.work, cost.together)]
        lines.append([k, k * POSITIVES, sent / 2**20, *network, *works])
    device = next((row['device'] for row in read('scale')), 'CPU')
    header = [
        'GPUs', 'positives of all', 'sent MiB', 'latency ms, trees', 'rings', 'transfer ms',
        f'work ms, a core of {device}', 'together, so', 'work ms, GPU', 'together, so',
    ]  # fmt: skip
    return table(header, lines)


def choices() -> str:
    """What each loss learnt and took on RetinaNet: means over the seeds of the learning table."""
    path = RECORDS / 'learning.jsonl'
    learnt = [json.loads(line) for line in path.read_text().splitlines()]
    memory = {(row['loss'], row['images']): row.get('ratio') for row in read('heads')}
    names = ('ap', 'alrp', 'dr', 'auc', 'focal', 'ohem')
    in_config = ('ap-loss', 'alrp-loss', 'dr-loss', 'auc-loss', 'focal', 'ce-ohem')
    lines = []
    for name, spelled in zip(names, in_config):
        prefix = f'retinanet_r18_fpn_{spelled}_'
        own = [row for row in learnt if row['config'].startswith(prefix) and not row['search']]
        means = [
            f'{sum(row[key] for row in own) / len(own):.3f}'
            for key in ('AP', 'AP50', 'AP75', 'AP90', 'step_seconds')
        ]
        lines.append([spelled, *means, memory.get((name, 2)), memory.get((name, 4))])
    header = ['loss', 'AP', 'AP50', 'AP75', 'AP90', 's/iteration']
    return table([*header, 'memory, 2 images', 'memory, 4 images'], lines)


def evaluation() -> str:
    """All measures beside pycocotools' bbox evaluation."""
    lines = []
    for row in read('evaluation'):
        theirs, ours = (
            [row[f'median_{unit}'][side] for unit in ('s', 'cpu_s')]
            for side in ('pycocotools_bbox', 'rankdet_all_measures')
        )
        lines.append([
            row['images'], row['detections_per_image'], *theirs, *ours, row['ratio'],
            row['cpu_ratio'], 'yes' if row['same_ap_and_ar'] else 'no', row['load'],
        ])  # fmt: skip
    header = [
        'images', 'detections each', 'pycocotools s', 'processor s', 'rankdet s', 'processor s',
        'ratio', 'processor', 'same AP and AR', 'load',
    ]  # fmt: skip
    return table(header, lines)


def imports() -> str:
    """Importing the losses, beside torch."""
    lines: list[list[object]] = [
        [row['python'], row['torch'], row['torch_s'], row['losses_s'], row['losses_processor_s'],
         row['load']]
        for row in read('imports')
    ]  # fmt: skip
    header = ['Python', 'torch', 'import torch, s', 'rankdet.functional, s', 'processor s', 'load']
    return table(header, lines)


TABLES = {
    'choices': choices,
    'imports': imports,
    'losses on a cpu': lambda: losses(False),
    'losses on a gpu': lambda: losses(True),
    'limits on a gpu': limits,
    'loop': lambda: loop(False),
    'loop on a gpu': lambda: loop(True),
    'commands of losses': lambda: commands('losses'),
    'steps on a cpu': lambda: steps(False),
    'steps on a gpu': lambda: steps(True),
    'commands of steps': lambda: commands('steps'),
    'scale': lambda: scale(False),
    'scale on a gpu': lambda: scale(True),
    'missing points': missing,
    'commands of scale': lambda: commands('scale'),
    'global': together,
    'global times': check,
    'commands of global': lambda: commands('global'),
    'many gpus': many_gpus,
    'evaluation': evaluation,
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
    pages = {path: path.read_text() for path in PAGES}
    filled = {path: fill(page) for path, page in pages.items()}
    if args.check:
        sys.exit(int(filled != pages))
    for path, page in filled.items():
        path.write_text(page)


if __name__ == '__main__':
    main()
