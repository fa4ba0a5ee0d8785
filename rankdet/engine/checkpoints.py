"""Finding the checkpoint to resume from, whatever happened to the run that wrote it."""

from __future__ import annotations

import os.path as osp
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from numbers import Integral
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import LOOPS
from mmengine.runner import EpochBasedTrainLoop
from mmengine.runner.checkpoint import CheckpointLoader

from .errors import UserError
from .run_record import training_starts
from .weights_only import only_weights

_NUMBERED = ('epoch_{}.pth', 'iter_{}.pth')


def is_complete(path: Path) -> bool:
    """Whether a checkpoint was written to its end: torch saves a zip, whose directory is last."""
    return zipfile.is_zipfile(path)


def is_sound(path: Path) -> bool:
    """Whether all in a complete checkpoint is as it was written: the zip has checksums."""
    try:
        with zipfile.ZipFile(path) as file:
            return file.testzip() is None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError):
        return False


def checkpoint_to_resume(cfg: Config, resume: str) -> Path | None:
    """The checkpoint that a run goes on from.

    Args:
        cfg: config of the run.
        resume: ``'auto'`` for the newest of the run that can be resumed, or a file.

    Returns:
        The file, or None where a run of this folder has saved none yet.

    Raises:
        UserError: the file does not exist, was cut short, is damaged, or was saved in the middle
            of an epoch though the run counts epochs: it would see the images of that epoch's
            beginning twice. Or a run of this folder has saved checkpoints, and none of them is
            left.
    """
    saving = (cfg.get('default_hooks') or {}).get('checkpoint')
    inside = saved_within_epoch if _counts_epochs(cfg) else lambda path: False
    if resume != 'auto':
        path = Path(resume)
        if not (path.is_file() and is_complete(path)):
            raise UserError(f'checkpoint {resume} does not exist or was cut short')
        if not is_sound(path):
            beside = list(_complete_checkpoints(path.parent, dict(saving or {}, out_dir=None)))
            after = beside.index(path) + 1 if path in beside else 0
            older = next((p for p in beside[after:] if is_sound(p) and not inside(p)), None)
            remedy = f'resume an older one: --resume {older}' if older else 'no older one is whole'
            raise UserError(f'checkpoint {resume} is damaged; {remedy}')
        if inside(path):
            raise UserError(f'checkpoint {_within(path)}')
        return path
    for path in _complete_checkpoints(cfg.work_dir, saving):
        if not is_sound(path):
            print_log(f'{path} is damaged; looking for an older one', 'current', 30)
            continue
        if not inside(path):
            return path
        print_log(f'{_within(path)}; looking for an older one', 'current', 30)
    record = Path(cfg.work_dir, 'last_checkpoint')
    if record.is_file():
        raise UserError(
            f'{record} names {record.read_text().strip()}, but no checkpoint is left that this '
            'run could go on from; name one with --resume CHECKPOINT, or train anew in another '
            '--work-dir'
        )
    return None


def latest_checkpoint(work_dir: str | Path, saving: dict | None = None) -> Path | None:
    """The newest complete checkpoint of a run, or None.

    MMEngine's own file ``last_checkpoint`` holds an absolute path, which is wrong once the
    folder was copied, and may name a file that a kill cut short. This looks at the files, and
    reads that one only where there are none.

    Args:
        work_dir: folder of the run.
        saving: config of its CheckpointHook, which may save elsewhere (``out_dir``) or under
            other names (``filename_tmpl``) than ``epoch_N.pth`` and ``iter_N.pth``.
    """
    return next(_complete_checkpoints(work_dir, saving), None)


def _complete_checkpoints(work_dir: str | Path, saving: dict | None) -> Iterator[Path]:
    """All of them, the newest first."""
    saving = saving or {}
    folder = Path(work_dir)
    if saving.get('out_dir'):  # the run's name goes below that
        folder = Path(saving['out_dir'], osp.basename(osp.abspath(work_dir)))
    own = saving.get('filename_tmpl')
    found = [
        (path.stat().st_mtime_ns, int(match[1]), template, path)
        for template in dict.fromkeys([*([own] if own else []), *_NUMBERED])
        for path in folder.glob('*')
        if (match := re.fullmatch(_pattern(template), path.name))
    ]
    # The number decides, the time only between an epoch_N and an iter_M of the same folder.
    kinds = {template for _, _, template, _ in found}
    found.sort(key=lambda item: item[1] if len(kinds) == 1 else item[0], reverse=True)
    record = Path(work_dir, 'last_checkpoint')
    paths = of_last_training(work_dir, [path for *_, path in found])
    if not paths and record.is_file():
        named = Path(record.read_text().strip())
        # That of a run which this one was copied from is not its own.
        theirs = Path(named.parent, record.name)
        if named.is_file() and (not theirs.exists() or theirs.samefile(record)):
            paths = [named]
    for path in paths:
        if is_complete(path):
            yield path
        else:
            print_log(f'{path} was cut short; looking for an older one', 'current', 30)


def of_last_training(work_dir: str | Path, checkpoints: Sequence[Path]) -> list[Path]:
    """Those of a folder's checkpoints that were written since its last training began.

    A training that has left none has replaced none, and without ``run.json`` all count.
    """
    for began in reversed(training_starts(work_dir)):
        own = [path for path in checkpoints if path.stat().st_mtime >= began.timestamp()]
        if own:
            if len(own) < len(checkpoints):
                print_log(
                    f'{work_dir} was trained more than once: checkpoints from before {began} are '
                    'left out',
                    'current',
                    30,
                )
            return own
    return list(checkpoints)


def _pattern(template: str) -> str:
    """What matches the names that ``template.format(number)`` gives."""
    before, _, after = re.sub(r'\{[^}]*\}', '\0', template, count=1).partition('\0')
    return rf'{re.escape(before)}(\d+){re.escape(after)}'


def saved_within_epoch(path: Path) -> bool:
    """Whether a checkpoint was saved before its run, or the part of it, had ended an epoch."""
    try:
        with only_weights():
            saved = CheckpointLoader.load_checkpoint(str(path), map_location='cpu', logger=None)
        epoch, iteration = saved['meta']['epoch'], saved['meta']['iter']
        facts = saved['message_hub']['runtime_info']
        numbers = (iteration, epoch, facts['max_epochs'], facts['max_iters'])
        if not all(isinstance(number, Integral) for number in numbers):
            return False  # preflight.check_checkpoint says what is wrong
        return iteration * facts['max_epochs'] != epoch * facts['max_iters']
    except Exception:  # of another kind; preflight.check_checkpoint says which
        return path.name.startswith('iter_')


def _within(path: Path) -> str:
    return (
        f'{path} was saved in the middle of an epoch, and this run counts epochs: it could only '
        'begin that epoch again'
    )


def _counts_epochs(cfg: Config) -> bool:
    loop = cfg.train_cfg.get('type')
    loop = LOOPS.get(loop) if isinstance(loop, str) else loop
    if loop is None:
        return bool(cfg.train_cfg.get('by_epoch', True))
    return issubclass(loop, EpochBasedTrainLoop)
