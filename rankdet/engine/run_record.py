"""A folder of a run says how it came about: ``run.json`` has an entry for each start."""

from __future__ import annotations

import json
import os
import os.path as osp
import re
import shlex
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from mmengine.dist import get_world_size, is_main_process
from mmengine.runner import Runner

from .provenance import device, git_state, versions

RECORD = 'run.json'
_PACKAGE = Path(__file__).resolve().parents[1]
# What changes a run from outside: where the data is, weights, processes, limits.
_VARIABLES = re.compile(
    r'BACKBONES|DIGITS|BCCD|(?:VOC|COCO)_ROOT|RANKDET_\w+|WORLD_SIZE|NNODES|CUDA_VISIBLE_DEVICES'
    r'|OMP_NUM_THREADS'
)
_MOST_CHANGES = 20  # files named


def record_start(runner: Runner, what: str, checkpoint: str | None = None) -> None:
    """Add an entry to ``run.json`` of the work directory, and a line to the log; one process does.

    Args:
        runner: built and about to start.
        what: 'train', 'resume' or 'test'.
        checkpoint: what is tested, or where training goes on.
    """
    if not is_main_process():
        return
    entry = describe_start(what, getattr(runner.cfg, 'filename', None))
    entry |= dict(seed=runner.seed, device=device(get_world_size()), checkpoint=checkpoint)
    path = Path(runner.work_dir, RECORD)
    _append(path, entry)
    code = ''.join(
        f'; {state["folder"]} at {state["commit"]}{" with changes" * state["dirty"]}'
        for state in entry['git']
    )
    runner.logger.info(f'{path}: {entry["command"]}; seed {entry["seed"]}{code}')


def training_starts(work_dir: str | Path) -> list[datetime]:
    """When trainings began in a folder, the oldest first, without what only resumed one.

    Empty where ``run.json`` is not there or is somebody else's.
    """
    try:
        entries = json.loads(Path(work_dir, RECORD).read_text(encoding='utf-8'))
        return [datetime.fromisoformat(e['time']) for e in entries if e['what'] == 'train']
    except (OSError, ValueError, KeyError, TypeError):
        return []


def describe_start(what: str, config: str | None) -> dict[str, Any]:
    """Command, place, time, code, versions and environment of this process."""
    # The folder of a checkout is rankdet's own repository; one of site-packages is not.
    own = [_PACKAGE] if _PACKAGE.parent.joinpath('.git').exists() else []
    folders = [*([Path(osp.dirname(osp.abspath(config)))] if config else []), Path.cwd(), *own]
    states = {state.folder: state for folder in folders if (state := git_state(folder))}
    return dict(
        what=what,
        command=shlex.join(sys.orig_argv),
        cwd=os.getcwd(),
        time=datetime.now().astimezone().isoformat(timespec='seconds'),
        config=config,
        git=[
            dict(
                folder=state.folder,
                commit=state.commit,
                dirty=bool(state.changed),
                changed=state.changed[:_MOST_CHANGES],
            )
            for state in states.values()
        ],
        rankdet=dict(
            version=sys.modules[__package__.partition('.')[0]].__version__, folder=str(_PACKAGE)
        ),
        versions=versions(),
        environment={k: v for k, v in sorted(os.environ.items()) if _VARIABLES.fullmatch(k)},
    )


def _append(path: Path, entry: dict[str, Any]) -> None:
    """The file is replaced whole, so that a kill leaves the old or the new one."""
    try:
        entries = json.loads(path.read_text(encoding='utf-8'))
        if not isinstance(entries, list):
            raise ValueError
    except FileNotFoundError:
        entries = []
    except ValueError:  # somebody else's: it stays beside
        path.replace(path.with_suffix('.json.old'))
        entries = []
    part = path.with_name(f'.{path.name}.{os.getpid()}.part')
    try:
        part.write_text(json.dumps([*entries, entry], indent=1) + '\n', encoding='utf-8')
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
