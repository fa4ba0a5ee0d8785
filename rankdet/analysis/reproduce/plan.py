"""Which trainings and tests a set of rows needs: rows share what they have in common."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict, DictAction

from rankdet.analysis.paper_tables import Row
from rankdet.engine import launch
from rankdet.engine.checkpoints import is_complete
from rankdet.engine.pretrained import starts_at_random

#: What says how a detector is trained, and tested, wherever the data lie.
_TRAINING = (
    *('model', 'train_cfg', 'train_dataloader', 'optim_wrapper', 'param_scheduler'),
    *('custom_hooks', 'randomness'),
)
_TEST = ('test_dataloader', 'tta_model', 'tta_pipeline')
_PLACES = {'data_root', 'num_workers', 'persistent_workers', 'pin_memory'}


@dataclass(frozen=True)
class Training:
    """One training, and the rows that are tested on its last checkpoint.

    Attributes:
        config: The config file, relative to the folder that holds ``configs``.
        options: Its overrides as ``--cfg-options`` takes them.
        rows: What it is for.
    """

    config: str
    options: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def name(self) -> str:
        """Folder of its files: the config's name and, where there are options, a short form."""
        return '_'.join([Path(self.config).stem, *_short(self.options)])

    def load(self, root: Path, work_dir: Path) -> Config:
        """The config with its options."""
        return load_config(root / self.config, self.options, work_dir)


def plan(rows: Iterable[Row]) -> list[Training]:
    """The trainings that rows need, in the rows' order; those that are only quoted need none.

    Raises:
        ValueError: An option cannot be written as ``--cfg-options`` takes it.
    """
    found: dict[tuple[str, tuple[str, ...]], list[Row]] = {}
    for row in rows:
        if row.config:
            options = tuple(sorted(as_arguments(row.options, row.address)))
            found.setdefault((row.config, options), []).append(row)
    return [Training(*key, tuple(sharing)) for key, sharing in found.items()]


def test_folder(row: Row) -> str:
    """Folder of a row's test, inside that of its training."""
    return '_'.join(['test', *_short([row.address.replace('/', '_')])])


def test_options(row: Row) -> tuple[str, ...]:
    """All overrides of a row's test, as ``--cfg-options`` takes them."""
    return tuple(as_arguments({**row.options, **row.test_options}, row.address))


def as_arguments(options: Mapping[str, Any], where: str = 'options') -> list[str]:
    """Overrides as ``--cfg-options`` takes them; mappings become dotted keys.

    Raises:
        ValueError: An override would be read as something else.

    >>> as_arguments({'model.head': {'delta': 0.5}, 'a': [1, [2, 3]], 'b': None})
    ['model.head.delta=0.5', 'a=[1,[2,3]]', 'b=None']
    """
    arguments = []
    for key, value in _leaves(options):
        argument = f'{key}={_written(value)}'
        try:
            same = parsed([argument]) == {key: value}
        except (AssertionError, ValueError):
            same = False
        if not same:
            raise ValueError(f'{where}: {key} = {value!r} cannot be given as --cfg-options')
        arguments.append(argument)
    return arguments


def parsed(arguments: list[str]) -> dict[str, Any]:
    """What ``--cfg-options`` makes of these arguments."""
    found = argparse.Namespace(options={})
    if arguments:
        DictAction([], 'options')(None, found, arguments)
    return found.options


def load_config(path: Path, options: Iterable[str], work_dir: Path) -> Config:
    """:func:`rankdet.engine.launch.load_config`, for one process."""
    return launch.load_config(str(path), work_dir=str(work_dir), cfg_options=list(options))


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables, which the data set configs read, for a while."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def fingerprint(cfg: Config, *, test: bool = False) -> str:
    """A short digest of how a config trains and, on request, tests; not of where the data lie."""
    content = {key: _essence(cfg.get(key), test) for key in (*_TRAINING, *(_TEST if test else ()))}
    if starts_at_random(cfg):
        content['backbones'] = 'random'
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def last_checkpoint(cfg: Config) -> Path | None:
    """The checkpoint at the end of a training, if it got there."""
    kind = 'epoch' if cfg.train_cfg.get('max_epochs') else 'iter'
    path = Path(cfg.work_dir, f'{kind}_{length(cfg)}.pth')
    return path if path.is_file() and is_complete(path) else None


def length(cfg: Config) -> int:
    """Epochs of a training, or iterations where it counts these."""
    return cfg.train_cfg.get('max_epochs') or cfg.train_cfg.get('max_iters')


def _essence(value: Any, test: bool) -> Any:
    if isinstance(value, (dict, ConfigDict)):
        left_out = _PLACES if test else _PLACES | {'test_cfg'}
        return {k: _essence(v, test) for k, v in value.items() if k not in left_out}
    if isinstance(value, (list, tuple)):
        return [_essence(item, test) for item in value]
    return value


def _short(options: Iterable[str]) -> list[str]:
    """A readable name for a folder, made unique by a few digits where something is left out."""
    full = ' '.join(options)
    if not full:
        return []
    parts = (option.rpartition('=') for option in options)
    text = '_'.join(
        f'{key.rpartition(".")[2]}-{value}' if key else value for key, _, value in parts
    )
    text = re.sub(r'[^A-Za-z0-9.+_-]', '', text)[:60]
    return [text if text == full else f'{text}_{hashlib.sha256(full.encode()).hexdigest()[:6]}']


def _leaves(options: Mapping[str, Any], prefix: str = '') -> Iterator[tuple[str, Any]]:
    for key, value in options.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f'{prefix}{key}.')
        else:
            yield f'{prefix}{key}', value


def _written(value: Any) -> str:
    if isinstance(value, list):
        return f'[{",".join(map(_written, value))}]'
    return str(value)
