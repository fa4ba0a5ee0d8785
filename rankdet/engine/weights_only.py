"""Checkpoints are loaded without running code from them.

A checkpoint is a pickle, and a pickle may call any function while it is read. torch can read one
that names nothing but tensors, containers and what is on a list
(:func:`rankdet.compat.checkpoint_globals`: what MMEngine's own checkpoints hold besides).
MMEngine tries that first and then, with a warning, reads the file the unsafe way. Inside
:func:`only_weights` it does not.
"""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.runner import load_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn

from rankdet.compat.checkpoint_globals import checkpoint_globals
from rankdet.untrusted import refuse_bomb

from .errors import UserError

#: Set to 1, files are loaded even if they bring code, and it runs.
RUN_CODE = 'RANKDET_RUN_PICKLED_CODE'
OPTION = '--run-pickled-code'
_WANTED = re.compile(r'GLOBAL (\S+)')
_REASON = re.compile(r'WeightsUnpickler error: (.*)')


def runs_code() -> bool:
    """Whether the user allows files to bring code."""
    return os.environ.get(RUN_CODE) == '1'


@contextmanager
def running_pickled_code(allowed: bool) -> Iterator[None]:
    """Allow it inside, for child processes too; False leaves it to the environment variable."""
    before = os.environ.get(RUN_CODE)
    if allowed:
        os.environ[RUN_CODE] = '1'
    try:
        yield
    finally:
        if allowed:
            os.environ.pop(RUN_CODE)
            os.environ.update({} if before is None else {RUN_CODE: before})


@contextmanager
def only_weights() -> Iterator[None]:
    """Whatever MMEngine loads inside, by path or address, is loaded without running code from it.

    A class that a project allows by ``torch.serialization.add_safe_globals`` is allowed here too.

    Raises:
        UserError: a file asks for a function or class that is not on the list; names it.
    """
    original = CheckpointLoader.__dict__['load_checkpoint']

    def load(
        cls: type[CheckpointLoader],
        filename: str,
        map_location: Any = None,
        logger: Any = 'current',
    ) -> dict:
        with _careful_torch(filename):
            return original.__func__(cls, filename, map_location, logger)

    CheckpointLoader.load_checkpoint = classmethod(load)
    try:
        yield
    finally:
        CheckpointLoader.load_checkpoint = original


def load_weights(model: nn.Module, path: str | os.PathLike) -> dict:
    """MMEngine's ``load_checkpoint`` onto the CPU, inside :func:`only_weights`.

    Raises:
        UserError: as there.
    """
    with only_weights():
        return load_checkpoint(model, os.fspath(path), map_location='cpu', logger='silent')


@contextmanager
def _careful_torch(name: str) -> Iterator[None]:
    """``torch.load`` as one that takes our list only, or, if the user says so, anything."""
    original = torch.load
    # Before MMEngine adds its own, which has Python's getattr.
    allowed = [*torch.serialization.get_safe_globals(), *checkpoint_globals()]

    def load(file: Any, map_location: Any = None, **_: Any) -> Any:
        if runs_code():
            print_log(f'{name} may run code that it brings: {RUN_CODE}=1', 'current', 30)
            return original(file, map_location=map_location, weights_only=False)
        if isinstance(file, (str, os.PathLike)):
            refuse_bomb(file)
        with _safe_globals(allowed):
            try:
                return original(file, map_location=map_location, weights_only=True)
            except pickle.UnpicklingError as error:  # MMEngine would catch it and try without care
                raise _refusal(name, error) from error

    torch.load = load  # type: ignore[assignment]  # it hands on what MMEngine calls it with
    try:
        yield
    finally:
        torch.load = original


@contextmanager
def _safe_globals(allowed: list) -> Iterator[None]:
    """These and no others."""
    before = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(allowed)
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)


def _refusal(name: str, error: Exception) -> Exception:
    wanted = _WANTED.search(str(error))
    if wanted is None:
        reason = _REASON.search(str(error))
        return ValueError(reason[1] if reason else str(error))
    return UserError(
        f'{name} is refused: it asks for {wanted[1]}, and code from a checkpoint is not run. If '
        f'you trust who made it, {RUN_CODE}=1 (train, test, image_demo: {OPTION}) loads it and '
        'runs whatever it brings'
    )
