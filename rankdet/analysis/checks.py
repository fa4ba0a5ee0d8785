"""Checks that the analyses share: of options, and of what a training recorded."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from rankdet.engine.errors import UserError


def check_at_least(least: int, **values: int | None) -> None:
    """Raise a ValueError for a number below ``least``; None passes.

    >>> check_at_least(1, images=0)
    Traceback (most recent call last):
    ValueError: images must be at least 1, got 0
    """
    for name, value in values.items():
        if value is not None and value < least:
            raise ValueError(f'{name} must be at least {least}, got {value!r}')


def check_device(device: str | None) -> None:
    """Raise a ValueError for a device that torch does not have here; None passes."""
    import torch

    if device is None:
        return
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f'device {device!r} cannot be used: {reason}') from error


def read_lines(
    path: Path, numbers: Sequence[str] = (), *, optional: bool = False
) -> Iterator[dict]:
    """The records of a file with one JSON object a line.

    Args:
        path: the file.
        numbers: fields that must be numbers.
        optional: they may also be missing.

    Raises:
        UserError: a line is something else; one that a kill cut short is passed over.
    """
    for number, line in enumerate(path.read_text().splitlines(), 1):
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        where = f'{path}, line {number}'
        if not isinstance(record, dict):
            raise UserError(
                f'{where}: a record is a JSON object, got {line[:40]}; mend or remove it'
            )
        for name in numbers:
            value = record.get(name, 0 if optional else None)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise UserError(
                    f'{where}: {name} must be a number, got {value!r}; mend or remove the line'
                )
        yield record
