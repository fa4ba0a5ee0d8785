"""Which code computes a loss: plain torch, or the fused kernels of :mod:`rankdet.kernels`."""

from __future__ import annotations

import importlib
import os
import warnings

import torch
from torch import Tensor

from ._inputs import check_choice

CHOICES = ('auto', 'triton', 'torch')
VARIABLE = 'RANKDET_KERNELS'

# What a trial of the kernels found, by loss, device and dtype; None: they computed right.
_tried: dict[tuple[str, str, torch.dtype], str | None] = {}
_warned: set[tuple[str, str, torch.dtype]] = set()

_choice = os.environ.get(VARIABLE, 'auto') or 'auto'
check_choice(f'the environment variable {VARIABLE}', _choice, CHOICES)


class use_kernels:
    """Say how AP, AUC, aLRP and DR Loss are computed, from here on or within ``with``.

    The choice holds for the whole process. It begins as the environment variable
    ``RANKDET_KERNELS`` says, or as ``'auto'``. Other losses have no kernels and do not ask.

    Args:
        choice: ``'auto'``, the fused Triton kernels where they can run, on CUDA, and plain torch
            elsewhere, with a warning where they failed a trial before their first use;
            ``'triton'``, the kernels always, with an error where they cannot run;
            ``'torch'``, never.

    Raises:
        ValueError: another choice.

    Example:
        >>> with use_kernels('torch'):
        ...     print(kernels_in_use())
        torch
    """

    def __init__(self, choice: str) -> None:
        global _choice
        check_choice('choice', choice, CHOICES)
        self._choice, self._before, self._entered = choice, [_choice], False
        _choice = choice

    def __enter__(self) -> None:
        global _choice
        if self._entered:
            self._before.append(_choice)
        self._entered, _choice = True, self._choice

    def __exit__(self, *error: object) -> None:
        global _choice
        _choice = self._before.pop()


def kernels_in_use() -> str:
    """The current choice: ``'auto'``, ``'triton'`` or ``'torch'``, see :class:`use_kernels`."""
    return _choice


def chooses_kernels(logits: Tensor, obstacle: str | None) -> bool:
    """Whether a loss of these logits takes the fused kernels.

    Args:
        obstacle: why the loss itself cannot, None where it can.

    Raises:
        RuntimeError: they were asked for and cannot run; says why.
    """
    if _choice == 'torch' or (_choice == 'auto' and not _on_gpu(logits)):
        return False
    reason = obstacle or obstacle_of_machine(str(logits.device))
    if reason and _choice == 'triton':
        raise RuntimeError(
            f"the fused kernels were asked for ({VARIABLE} or use_kernels('triton')), but {reason}"
            "; use_kernels('auto') takes plain torch where they cannot run"
        )
    return not reason


def obstacle_of_machine(device: str) -> str | None:
    """Why the kernels cannot run on tensors of this device, None where they can."""
    kind = device.split(':')[0]
    try:
        device_code = importlib.import_module('rankdet.kernels._device')
    except Exception as error:
        return f'triton cannot be imported ({type(error).__name__}: {error})'
    if kind == 'cpu':
        if device_code.INTERPRETED:
            return None
        return (
            'the logits are on the CPU, where kernels run only in the interpreter of Triton '
            '(TRITON_INTERPRET=1, set before triton is imported)'
        )
    if kind != 'cuda':
        return f'the logits are on {device}'
    if not torch.version.hip and torch.cuda.get_device_capability(device) < (8, 0):
        name = torch.cuda.get_device_name(device)
        return f'{name} is older than compute capability 8.0, the first that Triton supports'
    return None


def obstacle_of_trial(logits: Tensor, name: str) -> str | None:
    """Why the kernels of a loss are not trusted on this device, None where they are.

    Before their first use there with logits of this dtype they run on small fixed inputs, and
    plain torch on the same; see :mod:`._fused_check`.

    Args:
        name: of the loss, as in ``_fused_check.LOSSES``.

    Raises:
        RuntimeError: a CUDA graph captures the first use.
    """
    # On a CPU kernels run in Triton's interpreter, only for those who test them.
    if _choice == 'torch' or not _on_gpu(logits):
        return None
    device = str(logits.device)
    if obstacle_of_machine(device):
        return None
    return _try_kernels(name, device, logits.dtype, _choice == 'auto')


def _on_gpu(logits: Tensor) -> bool:
    return logits.is_cuda


def _try_kernels(name: str, device: str, dtype: torch.dtype, warns: bool) -> str | None:
    key = name, device, dtype
    if key not in _tried:
        if device.startswith('cuda') and torch.cuda.is_current_stream_capturing():
            raise RuntimeError(
                f'the first loss by the fused {name!r} kernels on {device} with {dtype} logits is '
                'captured in a CUDA graph, where they cannot be tried: compute it once before'
            )
        check = importlib.import_module('rankdet.functional._fused_check')
        fault = check.find_fault(name, device, dtype)
        _tried[key] = fault and f'in a trial of the {name!r} kernels on {device} {fault}'
    fault = _tried[key]
    if fault and warns and key not in _warned:
        _warned.add(key)
        warnings.warn(
            f'plain torch computes the loss, since {fault}; {VARIABLE}=torch avoids the trial',
            RuntimeWarning,
            stacklevel=2,
        )
    return fault


# A compiler takes the answers and does not look inside. torch.compiler.assume_constant_result sets
# the same mark, but loads the whole compiler to do so.
vars(obstacle_of_machine)['_dynamo_marked_constant'] = True
vars(_try_kernels)['_dynamo_marked_constant'] = True
