"""The host's constants, made where they are used."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


class ConstantsMadeOnDevice(TorchFunctionMode):
    """Within it ``tensor.new_tensor(numbers)`` fills memory of the device.

    Box coders and IoU losses of the host make tensors of their constants in each call. Each is a
    copy from memory of the host, which waits until the device has done all that it was given.
    """

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is Tensor.new_tensor and len(args) == 2 and not kwargs:
            like, numbers = args
            if isinstance(numbers, (int, float)):
                return like.new_full((), numbers)
            is_row = isinstance(numbers, (tuple, list)) and len(numbers) > 0
            if is_row and all(isinstance(number, (int, float)) for number in numbers):
                runs = [(number, len(list(run))) for number, run in groupby(numbers)]
                return torch.cat([like.new_full((length,), number) for number, length in runs])
        return func(*args, **kwargs)
