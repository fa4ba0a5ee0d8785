"""Finding the checkpoint to resume from, whatever happened to the run that wrote it."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from mmengine.logging import print_log

_NUMBERED = re.compile(r'^(epoch|iter)_(\d+)\.pth$')


def is_complete(path: Path) -> bool:
    """Whether a checkpoint was written to its end: torch saves a zip, whose directory is last."""
    return zipfile.is_zipfile(path)


def latest_checkpoint(work_dir: str | Path) -> Path | None:
    """The newest complete checkpoint of a run, or None.

    MMEngine's own file ``last_checkpoint`` holds an absolute path, which is wrong once the
    folder was copied, and may name a file that a kill cut short. This looks at the files.

    Args:
        work_dir: folder with ``epoch_N.pth`` or ``iter_N.pth``.
    """
    found = [
        (path.stat().st_mtime_ns, int(match[2]), path)
        for path in Path(work_dir).glob('*.pth')
        if (match := _NUMBERED.match(path.name))
    ]
    # The number decides, the time only between an epoch_N and an iter_M of the same folder.
    kinds = {path.name.split('_')[0] for _, _, path in found}
    key = (lambda item: item[1]) if len(kinds) == 1 else (lambda item: item[0])
    for _, _, path in sorted(found, key=key, reverse=True):
        if is_complete(path):
            return path
        print_log(f'{path} was cut short; looking for an older one', 'current', 30)
    return None
