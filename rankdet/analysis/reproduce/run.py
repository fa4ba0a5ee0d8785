"""Training and testing what is missing of the papers' tables, one process group per step."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.config import Config

from rankdet.analysis.data_check import check_config
from rankdet.analysis.paper_tables import METAFILE, Row
from rankdet.engine.errors import UserError, explain
from rankdet.engine.preflight import check_data, leaf_datasets

from .columns import table_values
from .own_data import make_own_data
from .perturbed import read_metrics
from .plan import (
    Training,
    environment,
    fingerprint,
    last_checkpoint,
    load_config,
    plan,
    test_folder,
    test_options,
)
from .records import (
    RESULTS,
    append_result,
    as_ours,
    provenance,
    read_results,
    write_ours,
    write_whole,
)
from .submit import pack

_QUOTED = 'a number of the paper alone; there is nothing to train'
#: Starts a command with environment variables beside the present ones; returns its exit status.
Start = Callable[[list[str], Mapping[str, str]], int]


@dataclass(frozen=True)
class RunOptions:
    """How to run rows.

    Attributes:
        root: Folder that holds ``configs/`` and ``tools/``.
        work_dir: Folder for everything that is left; several nodes need to share it.
        gpus: Processes on this node; None takes the GPUs that there are, at most as many as the
            config is written for, or one process without a GPU.
        record: Put results into the metafiles.
        again: Test also what has a result.
    """

    root: Path
    work_dir: Path
    gpus: int | None = None
    record: bool = False
    again: bool = False


@dataclass
class Outcome:
    """What became of a row: ``state`` is measured, submit, quoted or failed."""

    row: Row
    state: str
    text: str


def run_command(command: list[str], variables: Mapping[str, str]) -> int:
    """Run a command beside this process, which an interruption ends too."""
    print(f'\n$ {" ".join([*(f"{k}={v}" for k, v in variables.items()), shlex.join(command)])}')
    sys.stdout.flush()
    known = os.environ | {'PYTHON': sys.executable} | dict(variables)
    process = subprocess.Popen(command, env=known)
    try:
        return process.wait()
    except KeyboardInterrupt:  # it got the signal as well: let it end in order
        process.wait()
        raise


def run_rows(rows: Iterable[Row], options: RunOptions, start: Start | None = None) -> list[Outcome]:
    """Check the data of rows, then train and test what is missing; go on where one fails.

    A training or a test that rows share runs once; a training goes on from its newest checkpoint
    if it was interrupted. Each result is a line of ``work_dir/results.jsonl`` as soon as it is
    there.

    Args:
        rows: What to run.
        options: How.
        start: Runs a command; None starts a process.

    Returns:
        list[Outcome]: One for each row.

    Raises:
        ValueError: A row's options are faulty.
    """
    rows, start = list(rows), start or run_command
    outcomes = [Outcome(row, 'quoted', _QUOTED) for row in rows if not row.config]
    trainings = []
    checked: dict[tuple, str] = {}
    for training in plan(rows):
        missing, done = _missing(training, options)
        outcomes += done
        try:
            if missing:
                _check_learning_rate(training)
                _check_data(training, options, checked)
                trainings.append((training, missing))
        except Exception as error:
            outcomes += [_failure(row, error) for row in missing]
    for number, (training, missing) in enumerate(trainings, 1):
        print(f'\n== {number}/{len(trainings)}  {training.name}', flush=True)
        try:
            checkpoint = _train(training, options, start)
        except Exception as error:
            outcomes += [_failure(row, error) for row in missing]
            continue
        tests: dict[tuple, dict] = {}
        for row in missing:
            try:
                outcomes.append(_test(training, row, checkpoint, options, start, tests))
            except Exception as error:
                outcomes.append(_failure(row, error))
    order = {row.address: place for place, row in enumerate(rows)}
    return sorted(outcomes, key=lambda outcome: order[outcome.row.address])


def summary(outcomes: Iterable[Outcome]) -> str:
    """One line a row."""
    outcomes = list(outcomes)
    width = max((len(outcome.row.address) for outcome in outcomes), default=0)
    lines = [f'{o.row.address:<{width}}  {o.state:<8}  {o.text}' for o in outcomes]
    failed = sum(outcome.state == 'failed' for outcome in outcomes)
    return '\n'.join([*lines, f'{len(outcomes)} rows, {failed} failed'])


def results_file(work_dir: Path) -> Path:
    """Where :func:`run_rows` leaves results."""
    return work_dir / RESULTS


def processes(cfg: Config, gpus: int | None) -> int:
    """Processes on this node, see :class:`RunOptions`.

    Raises:
        UserError: There are fewer GPUs.
    """
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if gpus is None:
        base = (cfg.get('auto_scale_lr') or {}).get('base_batch_size') or 1
        return max(1, min(there, base // cfg.train_dataloader.batch_size))
    if gpus < 1 or (there and gpus > there):
        raise UserError(f'--gpus must be from 1 to the {there or "number of"} GPUs, got {gpus}')
    return gpus


def needs_scaling(cfg: Config, world: int) -> bool:
    """Whether the batch of all processes is not the one that the learning rate is meant for.

    Raises:
        UserError: It is not known.
    """
    base = (cfg.get('auto_scale_lr') or {}).get('base_batch_size')
    if not base:
        raise UserError(f'{cfg.filename} does not say auto_scale_lr = dict(base_batch_size=...)')
    return world * cfg.train_dataloader.batch_size != base


def _check_learning_rate(training: Training) -> None:
    """A learning rate of the row's own belongs to a batch that the config does not know."""
    keys = {option.partition('=')[0] for option in training.options}
    if 'optim_wrapper.optimizer.lr' in keys and 'auto_scale_lr.base_batch_size' not in keys:
        raise UserError(
            f'Options of {training.rows[0].address} set optim_wrapper.optimizer.lr; they must say '
            'in auto_scale_lr.base_batch_size which batch it is for'
        )


def _missing(training: Training, options: RunOptions) -> tuple[list[Row], list[Outcome]]:
    """The rows of a training without a result that still holds, and what the others have."""
    results = read_results(results_file(options.work_dir))
    missing, done = [], []
    for row in training.rows:
        entry = results.get(row.address)
        if entry and not options.again and entry['digest'] == _digest(row, options):
            done.append(_outcome(row, entry))
        else:
            missing.append(row)
    return missing, done


def _config_file(row: Row, options: RunOptions) -> Path:
    assert row.config is not None  # no training is planned for a row that is only quoted
    return options.root / row.config


def _digest(row: Row, options: RunOptions) -> str:
    with environment(row.test_env):
        cfg = load_config(_config_file(row, options), test_options(row), options.work_dir)
        return fingerprint(cfg, test=True)


def _check_data(training: Training, options: RunOptions, checked: dict[tuple, str]) -> None:
    """Stop before anything is trained that cannot be trained, or tested afterwards."""
    for row in training.rows:
        with environment(row.test_env):
            cfg = load_config(_config_file(row, options), test_options(row), options.work_dir)
            places = tuple(
                f'{dataset.get("data_root")} {dataset.get("ann_file")}'
                for mode in ('train', 'val', 'test')
                for dataset in leaf_datasets(cfg[f'{mode}_dataloader'].dataset)
            )
            if places not in checked:
                print(f'checking the data of {row.address}', flush=True)
                make_own_data(row.data, cfg)
                report = check_config(_config_file(row, options))
                for problem in report.problems:
                    print(problem)
                stops = [str(problem) for problem in report.problems if problem.stops]
                more = f' (and {len(stops) - 1} more above)' if len(stops) > 1 else ''
                checked[places] = stops[0].removeprefix('error: ') + more if stops else ''
        if checked[places]:
            raise UserError(checked[places])
        with environment(row.test_env):
            check_data(cfg, ('train', 'val', 'test'))
        if row.tta and 'tta_pipeline' not in cfg:
            raise UserError(f'{row.config} has no tta_pipeline, which {row.address} is tested by')


def _train(training: Training, options: RunOptions, start: Start) -> Path:
    """Train to the end, or go on from the newest checkpoint; returns the last one."""
    work_dir = options.work_dir / training.name
    cfg = training.load(options.root, work_dir)
    gpus = processes(cfg, options.gpus)
    nodes = int(os.environ.get('NNODES', 1))
    facts_file, digest = work_dir / 'training.json', fingerprint(cfg)
    facts = json.loads(facts_file.read_text()) if facts_file.is_file() else None
    if facts and facts['digest'] != digest:
        raise UserError(
            f'{work_dir} holds a training by another version of {training.config}; move it away '
            'or take another --work-dir'
        )
    if (checkpoint := last_checkpoint(cfg)) and facts:
        return checkpoint
    scaled = needs_scaling(cfg, gpus * nodes)
    arguments = ['--work-dir', str(work_dir), '--resume', *(['--auto-scale-lr'] if scaled else [])]
    command = _command('train', options, gpus, [str(options.root / training.config)], arguments)
    command += ['--cfg-options', *training.options] if training.options else []
    if _first_node():
        parts = (facts or {}).get('parts', [])
        parts.append(
            dict(
                command=_shown(command, options),
                gpus=gpus,
                nodes=nodes,
                scaled_lr=scaled,
                **provenance(options.root, gpus * nodes),
            )
        )
        work_dir.mkdir(parents=True, exist_ok=True)
        seed = (cfg.get('randomness') or {}).get('seed')
        write_whole(facts_file, json.dumps(dict(digest=digest, seed=seed, parts=parts), indent=1))
    if status := start(command, {}):
        raise UserError(f'training ended with status {status}; the lines above say why')
    if not (checkpoint := last_checkpoint(cfg)):
        raise UserError(f'training ended without its last checkpoint in {work_dir}')
    return checkpoint


def _test(
    training: Training,
    row: Row,
    checkpoint: Path,
    options: RunOptions,
    start: Start,
    tests: dict[tuple, dict],
) -> Outcome:
    """Test a row's checkpoint, unless ``tests`` has the same test, and keep the result."""
    key = (row.tool, test_options(row), tuple(row.test_env.items()), row.tta)
    if row.withheld or key not in tests:
        tests[key] = _measure(training, row, checkpoint, options, start)
    if not _first_node():
        return Outcome(row, 'measured', 'recorded by the first node')
    entry = dict(row=row.address, metrics={}) | tests[key]
    if not row.withheld:
        entry['metrics'] = table_values(entry['all_metrics'], row.columns, row.metrics)
        if not entry['metrics']:
            raise UserError(f'the test measured nothing: {entry["command"]}')
    append_result(results_file(options.work_dir), entry)
    if options.record and entry['metrics']:
        record(row, entry, options.root)
    return _outcome(row, entry)


def _measure(
    training: Training, row: Row, checkpoint: Path, options: RunOptions, start: Start
) -> dict:
    """Run a row's test; what it measured, or the archive for a server, with its provenance."""
    folder = checkpoint.parent / test_folder(row)
    overrides = [*test_options(row)]
    detections = folder / 'detections.bbox.json'
    if row.withheld:
        detections.unlink(missing_ok=True)
        overrides.append(f'test_evaluator.outfile_prefix={folder / "detections"}')
    with environment(row.test_env):
        cfg = load_config(_config_file(row, options), overrides, folder)
    what = [str(options.root / training.config), str(checkpoint)]
    if row.tool == 'test':
        arguments = ['--work-dir', str(folder), *(['--tta'] if row.tta else [])]
        command = _command('test', options, processes(cfg, options.gpus), what, arguments)
    else:  # one process
        tool = options.root / 'tools' / f'{row.tool}.py'
        command = [sys.executable, str(tool), *what, '--out-dir', str(folder)]
    command += ['--cfg-options', *overrides] if overrides else []
    begun = set(folder.glob('*/*.json'))
    runs_here = row.tool == 'test' or _first_node()
    if runs_here and (status := start(command, row.test_env)):
        raise UserError(f'the test ended with status {status}; the lines above say why')
    if not _first_node():
        return {}
    facts = json.loads((checkpoint.parent / 'training.json').read_text())
    last = facts['parts'][-1]
    variables = [f'{name}={value}' for name, value in row.test_env.items()]
    entry = dict(
        command=f'{last["command"]} && {" ".join([*variables, _shown(command, options)])}',
        seed=facts['seed'],
        **{key: last[key] for key in ('device', 'commit', 'date', 'versions')},
        scaled_lr=last['scaled_lr'],
        training=facts['parts'],
        digest=_digest(row, options),
    )
    if row.withheld:
        return entry | dict(archive=str(pack(cfg, detections, row.address)))
    found = _metrics(folder, begun) if row.tool == 'test' else read_metrics(folder)
    return entry | dict(all_metrics=_finite(found))


def record(row: Row, entry: Mapping, root: Path) -> None:
    """Put a result into the metafile of its row."""
    write_ours(root / 'configs' / row.folder / METAFILE, row, as_ours(entry))


def record_row(row: Row, numbers: Iterable[str], root: Path, work_dir: Path) -> str:
    """Put the result of a row's last run into its metafile.

    Args:
        row: The row.
        numbers: What a server measured, ``column=number`` in the table's units; nothing takes
            what the run itself measured.
        root: Folder that holds ``configs/``.
        work_dir: Where the run left its result.

    Returns:
        str: What was recorded.

    Raises:
        UserError: There is no run, or the numbers are not those that it waits for.
    """
    entry = read_results(results_file(work_dir)).get(row.address)
    if not entry:
        raise UserError(f'{row.address} was not run in {work_dir}; no number stands without a run')
    given = _numbers(numbers, row)
    if given and 'archive' not in entry:
        raise UserError(f'{row.address} is measured by its run; give no numbers')
    if given:
        entry = entry | dict(metrics=given, command=f'{entry["command"]}; measured by the server')
        append_result(results_file(work_dir), entry)
    if not entry['metrics']:
        raise UserError(f'{row.address} waits for the numbers of the server: COLUMN=NUMBER')
    record(row, entry, root)
    return _outcome(row, entry).text


def _numbers(given: Iterable[str], row: Row) -> dict[str, float]:
    found = {}
    for text in given:
        column, _, number = text.partition('=')
        try:
            found[column] = float(number)
        except ValueError:
            raise UserError(f'expected COLUMN=NUMBER, got {text}') from None
        if column not in row.columns or not 0 <= found[column] <= 100:
            columns = ', '.join(row.columns)
            raise UserError(f'{text}: a column is one of {columns}, a number from 0 to 100')
    return found


def _command(
    tool: str, options: RunOptions, gpus: int, what: list[str], arguments: list[str]
) -> list[str]:
    tools = options.root / 'tools'
    if gpus * int(os.environ.get('NNODES', 1)) == 1:
        return [sys.executable, str(tools / f'{tool}.py'), *what, *arguments]
    return ['bash', str(tools / f'dist_{tool}.sh'), *what, str(gpus), *arguments]


def _first_node() -> bool:
    return os.environ.get('NODE_RANK', '0') == '0'


def _shown(command: list[str], options: RunOptions) -> str:
    """A command as a user types it in the folder of the code."""
    program = 'python' if command[0] == sys.executable else command[0]
    text = shlex.join([program, *command[1:]])
    return text.replace(f'{options.root}{os.sep}', '').replace(f'{os.getcwd()}{os.sep}', '')


def _metrics(folder: Path, begun: set[Path]) -> dict:
    """What a test has left."""
    written = set(folder.glob('*/*.json')) - begun
    if len(written) != 1:
        raise UserError(f'the test left {len(written)} files of metrics in {folder}, not one')
    return json.loads(written.pop().read_text())


def _finite(metrics: Mapping) -> dict:
    return {k: v for k, v in metrics.items() if isinstance(v, (int, float)) and v == v}


def _outcome(row: Row, entry: Mapping) -> Outcome:
    if not entry['metrics']:
        text = f'{entry["archive"]}: submit it, then: tools/reproduce.py record {row.address} AP=..'
        return Outcome(row, 'submit', text)
    numbers = (
        f'{column} {value}' + (f' (paper {row.paper[column]})' if column in row.paper else '')
        for column, value in entry['metrics'].items()
    )
    return Outcome(row, 'measured', ', '.join(numbers))


def _failure(row: Row, error: Exception) -> Outcome:
    text = explain(error) or f'{type(error).__name__}: {" ".join(str(error).split())}'
    print(f'error: {row.address}: {text}', file=sys.stderr, flush=True)
    return Outcome(row, 'failed', text)
