"""What in a folder is of its last training: runs may be resumed there, or begun anew."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmengine.logging import print_log

from rankdet.analysis.checks import read_lines
from rankdet.engine.run_record import training_starts

_STAMP = '%Y%m%d_%H%M%S'  # MMEngine's name for the folder of a start


def read_logs(
    work_dir: str | Path, name: str, numbers: Sequence[str] = (), *, optional: bool = False
) -> list[tuple[Path, list[dict]]]:
    """The records of the last training of a folder, a file for each of its starts, oldest first.

    ``run.json`` says what began a training and what resumed one. Where it does not, a log that
    begins at or before the step at which the training before it began is of a new one.

    Args:
        work_dir: folder of the run.
        name: of the files in ``<timestamp>/vis_data``.
        numbers, optional: see :func:`.checks.read_lines`.

    Raises:
        UserError: a line is no record.
    """
    paths = sorted(Path(work_dir).glob(f'*/vis_data/{name}'))
    logs = [(path, list(read_lines(path, numbers, optional=optional))) for path in paths]
    first = _recorded_start(Path(work_dir), paths)
    if first is None:
        first = _seen_start([records for _, records in logs])
    if first:
        print_log(
            f'{work_dir} was trained more than once: what was logged before '
            f'{_stamp(paths[first])} is left out',
            'current',
            30,
        )
    return logs[first:]


def _stamp(path: Path) -> str:
    return path.parts[-3]


def _recorded_start(work_dir: Path, paths: Sequence[Path]) -> int | None:
    """Index of the first log of the last training that logged something; None without record."""
    folders = sorted(path.parts[-2] for path in work_dir.glob('*/vis_data'))
    for began in reversed(training_starts(work_dir)):
        # The start was recorded once its folder was there.
        before = [folder for folder in folders if folder <= f'{began:{_STAMP}}']
        own = [n for n, path in enumerate(paths) if not before or _stamp(path) >= before[-1]]
        if own:
            return own[0]
    return None


def _seen_start(logs: Sequence[list[dict]]) -> int:
    """Index of the first log of the last training, by the steps."""
    found, begins = 0, None
    for number, records in enumerate(logs):
        steps = (r.get('step', 0) for r in records if any(key.startswith('loss') for key in r))
        step = next(steps, None)
        if step is None:
            continue
        if begins is None or step <= begins:
            found, begins = number, step
    return found
