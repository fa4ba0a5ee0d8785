"""Every row's real model and pipelines for a few iterations on tiny data, on a CPU.

Trained, saved, loaded, tested and measured as ``run`` does it. What is not real: the data, two
iterations instead of a schedule, no weights of a file, image sizes shrunk by one factor (see
``shrink``), and a score threshold of 0, as an untrained detector finds nothing above any other.
"""

from __future__ import annotations

import contextlib
import json
import math
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path

from rankdet.analysis.paper_tables import Row
from rankdet.engine import launch
from rankdet.engine.errors import UserError, explain
from rankdet.engine.provenance import commit, cpu_name, versions

from .batch import check_learning_rate
from .columns import unfilled
from .perturbed import measure_briefly
from .plan import Training, environment, last_checkpoint, load_config, plan, test_options
from .submit import pack
from .tiny_run import (
    SMOKE_SIDE,
    GradientWatch,
    keep_every_score,
    make_tiny_data,
    rename,
    shorten,
    shrink,
)

#: Most memory that a smoke run may take.
MOST_GB = 8.0
_PRELOAD = ['rankdet.plugin', 'mmdet.models', 'mmdet.datasets', 'rankdet.analysis.reproduce.smoke']


def smoke_training(
    training: Training, root: Path, folder: Path, side: int = SMOKE_SIDE, iterations: int = 2
) -> dict:
    """Train one training for some iterations and test its rows, in this process.

    Rows that are tested in the same way are tested once. The environment must lead to tiny data.

    Args:
        training: What to try.
        root: Folder that holds ``configs/``.
        folder: Gets checkpoints and logs.
        side: Longest side of an image.
        iterations: How many, at least.

    Returns:
        dict: What was done, as JSON takes it.

    Raises:
        Exception: Whatever went wrong.
    """
    cfg = training.load(root, folder)
    check_learning_rate(training, cfg)
    shorten(cfg, iterations=iterations)
    keep_every_score(cfg)
    factor = shrink(cfg, side)
    runner = launch.train(cfg, auto_scale_lr=True)
    (watch,) = (hook for hook in runner.hooks if isinstance(hook, GradientWatch))
    del runner
    _check(watch)
    checkpoint = last_checkpoint(cfg)
    if checkpoint is None:
        raise UserError('the training left no checkpoint')
    found = dict(iterations=watch.iterations, image_scale=round(factor, 4), losses=watch.losses)
    return found | dict(tests=[*_tests(training, root, folder, checkpoint, side)])


def smoke_all(
    rows: Iterable[Row], root: Path, out: Path, *, side: int = SMOKE_SIDE
) -> Iterator[dict]:
    """Smoke the trainings of rows one after the other, each in a process of its own.

    What a training leaves is deleted before the next one begins. What ``out`` says to be ok by the
    same commit and versions is not tried again, so that an interrupted smoke goes on.

    Args:
        rows: What to try; those that are only quoted are left out.
        root: Folder that holds ``configs/``.
        out: Gets a JSON line with commit, device and versions, and one for each training.
        side: Longest side of an image.

    Yields:
        dict: Each training's line: ``state`` is ok or failed.
    """
    trainings = plan(rows)
    os.environ['CUDA_VISIBLE_DEVICES'] = ''  # before the first process that would see a GPU
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(_PRELOAD)
    out.parent.mkdir(parents=True, exist_ok=True)
    head = dict(commit=commit(root), device=f'CPU ({cpu_name()})', side=side, versions=versions())
    done = _done(out, head)
    head |= dict(date=time.strftime('%Y-%m-%d', time.gmtime()), trainings=len(trainings))
    with tempfile.TemporaryDirectory(prefix='rankdet-smoke-') as place, out.open('w') as file:
        variables = make_tiny_data(Path(place, 'data'))
        print(json.dumps(head), file=file, flush=True)
        for training in trainings:
            line = done.get(training.name)
            line = line or _in_a_process(context, training, root, Path(place), variables, side)
            print(json.dumps(line), file=file, flush=True)
            yield line


def _done(out: Path, head: dict) -> dict[str, dict]:
    """What an interrupted smoke of the same code has found to be ok, by training."""
    try:
        first, *lines = map(json.loads, out.read_text().splitlines())
    except (OSError, ValueError):
        return {}
    if head['commit'].endswith('-dirty') or any(first.get(key) != head[key] for key in head):
        return {}
    return {line['training']: line for line in lines if line['state'] == 'ok'}


def _in_a_process(
    context: ForkServerContext,
    training: Training,
    root: Path,
    place: Path,
    variables: dict,
    side: int,
) -> dict:
    line = dict(
        training=training.name,
        config=training.config,
        options=list(training.options),
        rows=[row.address for row in training.rows],
    )
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(dir=place, ignore_cleanup_errors=True) as folder:
        theirs, ours = context.Pipe()
        process = context.Process(
            target=_child, args=(theirs, training, root, Path(folder, 'run'), variables, side)
        )
        process.start()
        theirs.close()
        try:
            found = ours.recv()
        except EOFError:
            process.join()
            found = dict(state='failed', error=f'the process died with status {process.exitcode}')
        finally:
            if process.is_alive() and sys.exc_info()[0]:
                process.terminate()
            process.join()
            ours.close()
    if found.get('memory_gb', 0) > MOST_GB:
        found |= dict(state='failed', error=f'it took more than {MOST_GB} GB of memory')
    return line | found | dict(seconds=round(time.monotonic() - begin, 1))


def _child(
    connection: Connection,
    training: Training,
    root: Path,
    folder: Path,
    variables: dict,
    side: int,
) -> None:
    from yapf.yapflib import yapf_api

    # The configs that are printed and kept: to format one takes longer than the run.
    yapf_api.FormatCode = lambda text, **style: (f'{text}\n', True)
    folder.mkdir()
    log = folder / 'output.txt'
    with log.open('w') as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        with environment(variables):
            found = dict(state='ok', **smoke_training(training, root, folder, side))
    except Exception as error:
        text = explain(error) or f'{type(error).__name__}: {" ".join(str(error).split())}'
        found = dict(state='failed', error=text)
    used = resource.getrusage(resource.RUSAGE_SELF)
    scale = 2**30 if sys.platform == 'darwin' else 2**20
    found |= dict(memory_gb=round(used.ru_maxrss / scale, 2))
    connection.send(found | dict(cpu_seconds=round(used.ru_utime + used.ru_stime, 1)))
    connection.close()


def _check(watch: GradientWatch) -> None:
    wrong = {name: value for name, value in watch.losses.items() if not math.isfinite(value)}
    if wrong or not watch.losses:
        raise UserError(f'losses must be finite, got {wrong or "none"}')
    for names, what in ((watch.unmoved, 'no gradient'), (watch.broken, 'a gradient not finite')):
        if names:
            raise UserError(f'{what} for {sorted(names)[:3]} ({len(names)} parameters)')


def _tests(
    training: Training, root: Path, folder: Path, checkpoint: Path, side: int
) -> Iterator[dict]:
    settings: dict[tuple, list[Row]] = {}
    for row in training.rows:
        key = (row.tool, test_options(row), tuple(row.test_env.items()), row.withheld, row.tta)
        settings.setdefault(key, []).append(row)
    for number, (key, rows) in enumerate(settings.items()):
        tool, options, variables, withheld, tta = key
        found = dict(rows=[row.address for row in rows], options=list(options), tta=tta)
        with environment(dict(variables)):
            cfg = load_config(root / training.config, options, folder / f'test{number}')
            shorten(cfg)
            keep_every_score(cfg)
            shrink(cfg, side)
            rename(cfg)
            if tta and 'tta_pipeline' not in cfg:
                raise UserError(f'{training.config} has no tta_pipeline')
            if withheld:
                cfg.test_evaluator.outfile_prefix = f'{cfg.work_dir}/detections'
            if tool == 'test':
                metrics = launch.test(cfg, str(checkpoint), tta=tta)
            else:
                metrics = measure_briefly(cfg, checkpoint, Path(cfg.work_dir))
            if withheld:
                detections = Path(cfg.work_dir, 'detections.bbox.json')
                pack(cfg, detections, rows[0].address, any_images=True)
                yield found | dict(packed=True)
                continue
        for row in rows:
            if lacking := unfilled(metrics, row.columns, row.metrics):
                raise UserError(f'{row.address}: the test measures no {", ".join(lacking)}')
        columns = list(dict.fromkeys(column for row in rows for column in row.columns))
        yield found | dict(measured=columns)


def progress(lines: Iterable[dict], total: int) -> Iterator[str]:
    """A line to print for each line of a smoke, with the time left."""
    begin = time.monotonic()
    for done, line in enumerate(lines, 1):
        left = (time.monotonic() - begin) / done * (total - done)
        facts = f'{line["seconds"]} s' + ''.join(
            f', {line[key]} {unit}' for key, unit in [('memory_gb', 'GB')] if key in line
        )
        text = f'{done}/{total}  {line["state"]:<6}  {line["training"]}  ({facts})'
        with contextlib.suppress(KeyError):
            text += f'\n        {line["error"]}'
        yield f'{text}  {math.ceil(left / 60)} min left' if total > done else text
