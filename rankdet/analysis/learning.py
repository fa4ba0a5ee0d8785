"""What each loss learns under one schedule: a table of small trainings on the digits.

Every config of a folder is trained by the same schedule from random weights, with the learning
rate that it states or that a search found first, on scenes neither trained on nor reported.
"""

from __future__ import annotations

import contextlib
import json
import math
import multiprocessing
import os
import platform
import statistics
import subprocess
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankdet.datasets.digits import make_digits

if TYPE_CHECKING:
    from mmengine.config import Config

SCENES: dict[str, Any] = dict(num_train=4000, num_val=300, size=128)
SEARCH_SCENES = 200
RATES = (0.001, 0.003, 0.01)
BEYOND = 10**0.5  # how far the search goes on where the best rate is the first or the last
COLUMNS = ('AP', 'AP50', 'AP75', 'AP90', 'oLRP')


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        config: stem of its file.
        lr: learning rate.
        seed: of initial weights and of the order of scenes.
        search: whether it belongs to the search: half the scenes, measured on the search scenes.
    """

    config: str
    lr: float
    seed: int
    search: bool

    @property
    def name(self) -> str:
        return f'{"search" if self.search else "run"}_{self.config}_lr{self.lr:.2g}_seed{self.seed}'


def learn(
    configs: Sequence[Path],
    work_dir: Path,
    data: Path,
    *,
    seeds: int = 3,
    jobs: int = 1,
    scenes: dict[str, Any] | None = None,
    search: bool = True,
    rates: Sequence[float] = RATES,
    report: Callable[[str], None] = print,
) -> list[dict]:
    """Search, train and measure; what is in ``work_dir`` already is not done again.

    Args:
        configs: files to train.
        work_dir: gets one folder a training and its result in ``<training>.json``.
        data: folder of the digits; made if it is not there. The search's are beside it.
        seeds: trainings per config, with seeds 0, 1, ...
        jobs: trainings at a time, each on one thread.
        scenes: options of :func:`rankdet.datasets.make_digits`, default ``SCENES``.
        search: find the learning rate of each config; else it is the one that the config states.
        rates: learning rates to begin the search with, ascending.
        report: called with a line for each thing done.

    Returns:
        One row per training, those of the search first.
    """
    scenes = scenes or SCENES
    make_digits(data, seed=0, workers=jobs, **scenes)
    search_data = data.with_name(data.name + '-search')
    if search:  # training scans in other scenes: the reported scenes and scans stay unseen
        made = dict(num_train=SEARCH_SCENES, num_val=1, size=scenes['size'])
        make_digits(search_data, seed=1, workers=jobs, **made)
    work_dir.mkdir(parents=True, exist_ok=True)
    paths = {path.stem: path for path in configs}

    with ProcessPoolExecutor(jobs, multiprocessing.get_context('spawn')) as pool:

        def run_all(runs: Iterable[Run]) -> list[dict]:
            start, rows, waiting = time.monotonic(), [], {}
            for run in runs:
                result = work_dir / f'{run.name}.json'
                if result.exists():
                    rows.append(json.loads(result.read_text()))
                else:
                    folders = work_dir / run.name, data, search_data
                    waiting[pool.submit(train_one, run, paths[run.config], *folders)] = result
            for done, future in enumerate(as_completed(waiting), 1):
                row = future.result()
                _write_whole(waiting[future], json.dumps(row))
                rows.append(row)
                left = (time.monotonic() - start) / done * (len(waiting) - done) / 60
                report(f'{done}/{len(waiting)} {describe(row)}   {left:.0f} min left of this part')
            return rows

        searched: list[dict] = []
        if search:
            searched = run_all(Run(name, lr, 0, True) for name in paths for lr in rates)
            best = {name: best_rate(searched, name) for name in paths}
            further = {name: _beyond(lr, rates) for name, lr in best.items()}
            searched += run_all(Run(name, lr, 0, True) for name, lr in further.items() if lr)
            best = {name: best_rate(searched, name) for name in paths}
        else:
            best = {name: stated_rate(path) for name, path in paths.items()}
        runs = [Run(name, best[name], seed, False) for seed in range(seeds) for name in paths]
        return searched + run_all(runs)


def best_rate(rows: Iterable[dict], config: str) -> float:
    """The rate of the searches of a config with the highest AP."""
    own = [row for row in rows if row['search'] and row['config'] == config]
    return max(own, key=lambda row: -1.0 if math.isnan(row['AP']) else row['AP'])['lr']


def stated_rate(config: Path) -> float:
    """The learning rate that a config states."""
    from mmengine.config import Config

    return Config.fromfile(config).optim_wrapper.optimizer.lr


def _beyond(best: float, rates: Sequence[float]) -> float | None:
    if best == rates[0]:
        return best / BEYOND
    return best * BEYOND if best == rates[-1] else None


def train_one(run: Run, config: Path, folder: Path, data: Path, search_data: Path) -> dict:
    """Train and measure one run in this process, on one thread; its output goes to a file."""
    import torch

    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    row = asdict(run) | environment(config)
    with _output_to(folder / 'output.txt'):
        started = time.process_time()
        try:
            row |= _train(run, config, folder, data, search_data)
        except Exception:  # a diverged training must not end the others
            traceback.print_exc()
            row |= dict.fromkeys(COLUMNS, math.nan) | dict(failed=True)
        row['processor_seconds'] = round(time.process_time() - started, 1)
    return row


@contextlib.contextmanager
def _output_to(path: str | os.PathLike) -> Iterator[None]:
    quiet, silent = contextlib.redirect_stdout, contextlib.redirect_stderr
    with open(path, 'w') as output, quiet(output), silent(output):
        yield


def _train(run: Run, config: Path, folder: Path, data: Path, search_data: Path) -> dict:
    from rankdet.engine.launch import train

    runner = train(run_config(run, config, folder, data, search_data))
    metrics = runner.val_loop.run()
    found = {name: float(metrics[f'det/{name}']) for name in COLUMNS}
    return found | dict(iterations=runner.iter)


def run_config(run: Run, config: Path, folder: Path, data: Path, search_data: Path) -> Config:
    """The config of a run: its file with learning rate, seed, data and folder filled in."""
    from rankdet.engine.launch import load_config

    os.environ['DIGITS'] = str(data)
    cfg = load_config(str(config), work_dir=str(folder))
    cfg.experiment_name = run.name
    cfg.optim_wrapper.optimizer.lr = run.lr
    cfg.randomness = dict(seed=run.seed)
    cfg.train_cfg.val_interval = cfg.train_cfg.max_epochs + 1  # measured once, after training
    cfg.default_hooks.checkpoint.save_optimizer = False
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.num_workers, loader.persistent_workers = 0, False
    found = data / 'annotations/instances_val.json'
    if run.search:
        found = search_data / 'annotations/instances_train.json'
        images = json.loads((data / 'annotations/instances_train.json').read_text())['images']
        cfg.train_dataloader.dataset.dataset.indices = len(images) // 2
        cfg.val_dataloader.dataset.update(
            data_root=f'{search_data}/',
            ann_file='annotations/instances_train.json',
            data_prefix=dict(img='train/'),
        )
        cfg.default_hooks.checkpoint.update(interval=-1, save_last=False)
    cfg.val_evaluator = dict(type='DetectionMetric', ann_file=str(found), bounds=False)
    return cfg


def step_seconds(configs: Sequence[Path], data: Path, rounds: int = 8) -> dict[str, float]:
    """Least processor seconds of a training iteration, on one thread and on the same scenes.

    All configs take turns, so that a busy machine is busy for all.

    Returns:
        Seconds by the stem of the config.
    """
    import torch
    from mmengine.registry import init_default_scope
    from mmengine.runner import Runner

    torch.set_num_threads(1)
    init_default_scope('mmdet')
    batches: list[dict] = []
    steps: dict[str, Callable[[dict], object]] = {}
    with _output_to(os.devnull):
        for config in configs:
            cfg = run_config(Run(config.stem, 0.001, 0, False), config, Path(), data, data)
            if not batches:
                loader = iter(Runner.build_dataloader(cfg.train_dataloader, seed=0))
                batches = [next(loader) for _ in range(2)]
            torch.manual_seed(0)
            steps[config.stem] = _stepper(cfg)
    best = dict.fromkeys(steps, math.inf)
    for turn in range(rounds + 1):
        for name, step in steps.items():
            started = time.process_time()
            step(batches[turn % len(batches)])
            if turn:  # the first one warms up
                best[name] = min(best[name], time.process_time() - started)
    return best


def _stepper(cfg: Config) -> Callable[[dict], object]:
    from mmdet.registry import MODELS
    from mmengine.optim import build_optim_wrapper

    model = MODELS.build(cfg.model)
    model.init_weights()
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper)
    model.train()
    return lambda batch: model.train_step(batch, optimizer)


def learning_table(rows: Sequence[dict], seconds: dict[str, float] | None = None) -> str:
    """Markdown: one line per config, mean and standard deviation over the seeds.

    Args:
        rows: from :func:`learn`.
        seconds: from :func:`step_seconds`.
    """
    header = ['detector', 'loss', 'rate', 'seeds', *COLUMNS, 's/iteration']
    lines = ['| ' + ' | '.join(header) + ' |', '|---' * len(header) + '|']
    for config in sorted({row['config'] for row in rows if not row['search']}):
        own = [row for row in rows if row['config'] == config and not row['search']]
        detector, _, rest = config.partition('_')
        loss = rest.split('_')[-3]
        time_taken = f'{seconds[config]:.3f}' if seconds else ''
        values = [mean_and_spread([row[name] for row in own]) for name in COLUMNS]
        cells = [detector, loss, f'{own[0]["lr"]:.2g}', str(len(own)), *values, time_taken]
        lines.append('| ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines) + '\n'


def mean_and_spread(values: Sequence[float]) -> str:
    """Mean, and the sample's standard deviation where there are several.

    >>> mean_and_spread([0.5, 0.52, 0.54]), mean_and_spread([0.5])
    ('0.520 ± 0.020', '0.500')
    """
    mean = f'{statistics.fmean(values):.3f}'
    return f'{mean} ± {statistics.stdev(values):.3f}' if len(values) > 1 else mean


def describe(row: dict) -> str:
    """One line on a finished training."""
    part = 'search' if row['search'] else f'seed {row["seed"]}'
    took = f'{row["processor_seconds"]:.0f} s'
    return f'{row["config"]} {part} lr {row["lr"]:.2g}: AP {row["AP"]:.3f} ({took})'


def environment(beside: Path) -> dict:
    """What a number needs beside it: versions, device and the commit of the code."""
    import torch

    def git(*arguments: str) -> str:
        ran = subprocess.run(
            ['git', *arguments], cwd=beside.parent, capture_output=True, text=True, check=False
        )
        return ran.stdout.strip() if ran.returncode == 0 else ''

    commit = git('rev-parse', '--short', 'HEAD')
    changed = '+changes' if git('status', '--porcelain', '--untracked-files=no') else ''
    return dict(
        torch=torch.__version__,
        python=platform.python_version(),
        device=f'{platform.machine()} CPU, one thread',
        commit=commit + changed if commit else None,
    )


def _write_whole(path: Path, text: str) -> None:
    part = path.with_suffix('.part')
    part.write_text(text)
    part.replace(path)
