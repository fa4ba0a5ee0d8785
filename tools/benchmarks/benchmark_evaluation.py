"""Time all measures of rankdet side by side with pycocotools' bbox evaluation.

    python tools/benchmarks/benchmark_evaluation.py --images 5000 --detections 100 \
        --out tools/benchmarks/evaluation.jsonl

Both sides start from the same result list and end in numbers. One JSON row is printed (and
appended to ``--out``): median and range of the seconds of each side over interleaved runs,
processor seconds too, their ratio, the load of the machine, and whether AP and AR agree. On a
machine that does other work the ratio of the processor seconds is the one to read.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from rankdet.evaluation import evaluate


def make_data(images: int, detections: int, classes: int, seed: int) -> tuple[dict, list[dict]]:
    """COCO-like: 7 objects an image, of 3 classes; 4 detections around each, the rest noise."""
    rng = np.random.default_rng(seed)
    annotations, results = [], []
    for image_id in range(1, images + 1):
        present = rng.choice(classes, min(3, classes), replace=False) + 1
        objects = []
        for _ in range(rng.poisson(7)):
            size = np.exp(rng.uniform(np.log(10), np.log(300), 2))
            box = np.concatenate([rng.uniform(0, 640 - size), size])
            objects.append((int(rng.choice(present)), box))
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=image_id,
                    category_id=objects[-1][0],
                    bbox=box.tolist(),
                    area=float(size.prod() * 0.7),
                    iscrowd=int(rng.random() < 0.01),
                )
            )
        for n in range(detections):
            if n < 4 * len(objects):
                category, box = objects[n % len(objects)]
                box = box + rng.normal(0, 0.1, 4) * np.tile(box[2:], 2)
                score = rng.beta(2, 2)
            else:
                category = int(rng.choice(present) if n % 2 else rng.integers(classes) + 1)
                box, score = rng.uniform([0, 0, 5, 5], [500, 500, 200, 200]), rng.beta(1, 8)
            results.append(
                dict(image_id=image_id, category_id=category, bbox=box.tolist(), score=score)
            )
    gt = dict(
        images=[dict(id=i, width=640, height=640) for i in range(1, images + 1)],
        categories=[dict(id=c, name=str(c)) for c in range(1, classes + 1)],
        annotations=annotations,
    )
    return gt, results


def run_pycocotools(gt: dict, results: list[dict]) -> np.ndarray:
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = gt
        coco.createIndex()
        found = COCOeval(coco, coco.loadRes(results), 'bbox')
        found.evaluate()
        found.accumulate()
        found.summarize()
    return found.stats


def run_rankdet(gt: dict, results: list[dict]) -> np.ndarray:
    found = evaluate(gt, results, voc=True).ap.summary()
    return np.array([value for name, value in found.items() if name != 'AP90'])


def cpu_name() -> str:
    info = Path('/proc/cpuinfo')
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
    return f'{names[0]} x {len(names)}' if names else platform.machine()


def commit() -> str | None:
    done = subprocess.run(
        ['git', 'rev-parse', '--short', 'HEAD'],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
        check=False,
    )
    return done.stdout.strip() or None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--images', type=int, default=5000)
    parser.add_argument('--detections', type=int, default=100, help='per image')
    parser.add_argument('--classes', type=int, default=80)
    parser.add_argument('--repeat', type=int, default=3)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--out', help='append the row to this file')
    args = parser.parse_args()

    measured = commit()  # of the code that is loaded, whatever is committed meanwhile
    gt, results = make_data(args.images, args.detections, args.classes, args.seed)
    sides = {'pycocotools_bbox': run_pycocotools, 'rankdet_all_measures': run_rankdet}
    seconds, cpu_seconds, stats = {name: [] for name in sides}, {name: [] for name in sides}, {}
    for n in range(args.repeat):
        for name, side in sides.items():
            # pycocotools writes into what it is given.
            data = copy.deepcopy((gt, results))
            print(f'run {n + 1}/{args.repeat}: {name} ...', file=sys.stderr, flush=True)
            start, cpu_start = time.perf_counter(), time.process_time()
            stats[name] = side(*data)
            seconds[name].append(time.perf_counter() - start)
            cpu_seconds[name].append(time.process_time() - cpu_start)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    cpu = {name: statistics.median(values) for name, values in cpu_seconds.items()}
    theirs, ours = stats.values()
    row = dict(
        benchmark='evaluation',
        images=args.images,
        detections_per_image=args.detections,
        classes=args.classes,
        seed=args.seed,
        median_s={name: round(value, 3) for name, value in median.items()},
        range_s={name: [round(min(v), 3), round(max(v), 3)] for name, v in seconds.items()},
        median_cpu_s={name: round(value, 3) for name, value in cpu.items()},
        ratio=round(median['rankdet_all_measures'] / median['pycocotools_bbox'], 3),
        cpu_ratio=round(cpu['rankdet_all_measures'] / cpu['pycocotools_bbox'], 3),
        same_ap_and_ar=bool(np.array_equal(theirs, ours)),
        python=platform.python_version(),
        numpy=np.__version__,
        pycocotools=version('pycocotools'),
        device=cpu_name(),
        threads=1,  # of either side
        load=round(os.getloadavg()[0], 1) if hasattr(os, 'getloadavg') else None,
        command=' '.join(['python', *sys.argv]),
        commit=measured,
    )
    line = json.dumps(row)
    print(line)
    if args.out:
        with open(args.out, 'a', encoding='utf-8') as file:
            file.write(line + '\n')


if __name__ == '__main__':
    main()
