"""Training and testing what is missing of the papers' tables, one process group per step."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

from rankdet.analysis.paper_tables import Row
from rankdet.commands import tool_line
from rankdet.engine.errors import UserError, explain
from rankdet.engine.pretrained import BACKBONES, RANDOM, starts_at_random

from .batch import as_many_images, check_learning_rate, needs_scaling, processes
from .checks import Checks
from .columns import table_values
from .commands import Start, first_node, locked, nodes, run_command, shown, tool_command
from .perturbed import read_metrics
from .plan import (
    Training,
    environment,
    fingerprint,
    last_checkpoint,
    load_config,
    parsed,
    plan,
    test_folder,
    test_options,
)
from .recording import record, record_given
from .records import RESULTS, append_result, provenance, read_results, write_whole
from .submit import pack

_QUOTED = 'a number of the paper alone; there is nothing to train'
_FACTS = 'training.json'
_FROM_RANDOM = 'from random weights'


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
    checks = Checks(options.root, options.work_dir)
    for training in plan(rows):
        missing, done = _missing(training, options)
        outcomes += done
        try:
            if missing:
                trainings.append((training, missing, _checked(training, options, checks)))
        except Exception as error:
            outcomes += [_failure(row, error) for row in missing]
    for number, (training, missing, cfg) in enumerate(trainings, 1):
        print(f'\n== {number}/{len(trainings)}  {training.name}', flush=True)
        try:
            with locked(Path(cfg.work_dir)):
                checkpoint = _train(training, cfg, options, start)
                outcomes += _tests(training, missing, checkpoint, options, start)
        except Exception as error:
            outcomes += [_failure(row, error) for row in missing]
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


def _checked(training: Training, options: RunOptions, checks: Checks) -> Config:
    """The config of a training that nothing stands in the way of, with the folder of its files."""
    cfg = training.load(options.root, options.work_dir / training.name)
    if starts_at_random(cfg):  # another training than the config's, in a folder of its own
        cfg.work_dir += '_random'
        if options.record:
            raise UserError(
                f'{BACKBONES}={RANDOM} trains {training.rows[0].address} {_FROM_RANDOM}, which its '
                'table does not; leave out --record'
            )
    check_learning_rate(training, cfg)
    checks.check_data(training)
    facts = _facts(cfg)
    if not (facts and last_checkpoint(_with_schedule(cfg, facts['schedule']))):
        checks.check_weights(cfg)
    return cfg


def _facts(cfg: Config) -> dict | None:
    """What is known of a training that has begun."""
    file = Path(cfg.work_dir, _FACTS)
    return dict(schedule=[]) | json.loads(file.read_text()) if file.is_file() else None


def _with_schedule(cfg: Config, schedule: list[str]) -> Config:
    cfg = deepcopy(cfg)
    cfg.merge_from_dict(parsed(schedule))
    return cfg


def _train(training: Training, cfg: Config, options: RunOptions, start: Start) -> Path:
    """Train to the end, or go on from the newest checkpoint; returns the last one."""
    work_dir = Path(cfg.work_dir)
    gpus = processes(cfg, options.gpus)
    facts, digest = _facts(cfg), fingerprint(cfg)
    if facts and facts['digest'] != digest:
        raise UserError(
            f'{work_dir} holds a training by another version of {training.config}; move it away '
            'or take another --work-dir'
        )
    if facts and (checkpoint := last_checkpoint(_with_schedule(cfg, facts['schedule']))):
        return checkpoint
    world = gpus * nodes()
    scaled, schedule = needs_scaling(cfg, world), as_many_images(cfg, world)
    if facts and facts['schedule'] != schedule:
        last = facts['parts'][-1]
        raise UserError(
            f'{work_dir} holds a training on {last["nodes"]} x {last["gpus"]} processes, whose '
            'count of iterations depends on them; go on with as many, or take another --work-dir'
        )
    if schedule:
        print(f'another batch than the config is for: {" ".join(schedule)}')
    arguments = ['--work-dir', str(work_dir), '--resume', *(['--auto-scale-lr'] if scaled else [])]
    what = [str(options.root / training.config)]
    command = tool_command('train', options.root, gpus, what, arguments)
    if overrides := [*training.options, *schedule]:
        command += ['--cfg-options', *overrides]
    random = starts_at_random(cfg)
    if first_node():
        parts = (facts or {}).get('parts', [])
        parts.append(
            dict(
                command=shown(command, options.root, {BACKBONES: RANDOM} if random else {}),
                gpus=gpus,
                nodes=nodes(),
                scaled_lr=scaled,
                **provenance(options.root, world),
            )
        )
        seed = (cfg.get('randomness') or {}).get('seed')
        facts = dict(digest=digest, seed=seed, schedule=schedule, parts=parts)
        facts |= dict(remark=_FROM_RANDOM) if random else {}
        work_dir.mkdir(parents=True, exist_ok=True)
        write_whole(work_dir / _FACTS, json.dumps(facts, indent=1))
    if status := start(command, {}):
        raise UserError(f'training ended with status {status}; the lines above say why')
    if not (checkpoint := last_checkpoint(_with_schedule(cfg, schedule))):
        raise UserError(f'training ended without its last checkpoint in {work_dir}')
    return checkpoint


def _tests(
    training: Training, rows: Iterable[Row], checkpoint: Path, options: RunOptions, start: Start
) -> list[Outcome]:
    outcomes = []
    tests: dict[tuple, dict] = {}
    for row in rows:
        try:
            outcomes.append(_test(training, row, checkpoint, options, start, tests))
        except Exception as error:
            outcomes.append(_failure(row, error))
    return outcomes


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
    if not first_node():
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
        command = tool_command('test', options.root, processes(cfg, options.gpus), what, arguments)
    else:  # one process
        tool = options.root / 'tools' / f'{row.tool}.py'
        command = [sys.executable, str(tool), *what, '--out-dir', str(folder)]
    command += ['--cfg-options', *overrides] if overrides else []
    begun = set(folder.glob('*/*.json'))
    runs_here = row.tool == 'test' or first_node()
    if runs_here and (status := start(command, row.test_env)):
        raise UserError(f'the test ended with status {status}; the lines above say why')
    if not first_node():
        return {}
    facts = json.loads((checkpoint.parent / _FACTS).read_text())
    last = facts['parts'][-1]
    entry = dict(
        command=f'{last["command"]} && {shown(command, options.root, row.test_env)}',
        seed=facts['seed'],
        **{key: last[key] for key in ('device', 'commit', 'date', 'versions')},
        scaled_lr=last['scaled_lr'],
        training=facts['parts'],
        digest=_digest(row, options),
        **{key: facts[key] for key in ('remark',) if key in facts},
    )
    if row.withheld:
        return entry | dict(archive=str(pack(cfg, detections, row.address)))
    found = _metrics(folder, begun) if row.tool == 'test' else read_metrics(folder)
    return entry | dict(all_metrics=_finite(found))


def record_row(row: Row, numbers: Iterable[str], root: Path, work_dir: Path) -> str:
    """Put the result of a row's last run into its table, see :func:`recording.record_given`."""
    return _outcome(row, record_given(row, numbers, root, results_file(work_dir))).text


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
        then = tool_line('reproduce', 'record', row.address, 'AP=..')
        text = f'{entry["archive"]}: submit it, then: {then}'
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
