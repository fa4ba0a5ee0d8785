"""Whether the fused kernels compute right on a device: tried there before they are trusted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import signature
from typing import Any

import torch
from torch import Tensor

from ._backend import use_kernels
from ._fused import fused_ranking
from ._fused_dr import fused_dr
from ._update import attach_gradient
from .alrp import alrp_loss
from .ap import ap_loss
from .auc import auc_loss
from .dr import dr_loss

# Of values, and of gradients against the largest one; or one rounding of a half precision one.
TOLERANCE = 1e-5

# Images, places and classes: several blocks, the last of them in part; 0 is dense targets.
_SHAPES = (4, 11, 80), (4, 61, 5), (4, 301, 1), (4, 301, 0)
# Classes with which aLRP Loss gets an error for each positive, so that these are counted.
_COUNTED = 5
# What comes into the backward pass: not 1, which kernels might forget.
_INCOMING = 2.5

_DR_OPTIONS = 'pos_lambda', 'neg_lambda', 'surrogate', 'smoothness', 'rho', 'margin'

LOSSES = 'ap', 'interpolated_ap', 'auc', 'alrp', 'dr'


def find_fault(name: str, device: str, dtype: torch.dtype) -> str | None:
    """Compare a loss by kernels on ``device`` with plain torch on the CPU; None if they agree.

    Args:
        name: one of ``LOSSES``.
        dtype: of the logits.
    """
    with _quiet(device):
        for shape in _SHAPES:
            batch = _make_batch(*shape, dtype)
            wanted = _run(_by_torch, name, batch, 'cpu')
            try:
                found = _run(_by_kernels, name, batch, device)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:
                return f'they raised {type(error).__name__}: {_first_line(error)}'
            for what, mine, other in zip(
                ('value', 'gradient', 'gradient by errors'), found, wanted
            ):
                fault = _difference(what, mine, other)
                if fault:
                    return f'{fault} on logits of shape {tuple(batch[0].shape)}'
    return None


@contextmanager
def _quiet(device: str) -> Iterator[None]:
    """As if nothing else went on: gradients wanted, no autocast, and synchronisation allowed."""
    is_cuda = device.startswith('cuda')
    before = torch.cuda.get_sync_debug_mode() if is_cuda else 0
    if is_cuda:
        torch.cuda.set_sync_debug_mode('default')
    try:
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.autocast('cpu', enabled=False),
            torch.autocast('cuda', enabled=False),
        ):
            yield
    finally:
        if is_cuda:
            torch.cuda.set_sync_debug_mode(before)


def _make_batch(
    images: int, places: int, classes: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits with ties; labels of all kinds, by class or dense; an error for each label."""
    generator = torch.Generator('cpu').manual_seed(classes)
    options: dict[str, Any] = dict(generator=generator, device='cpu')
    width = max(classes, 1)
    shape = (images, places, classes) if classes else (images, places)
    logits = torch.randn(shape, dtype=torch.float32, **options).mul_(16).round_().div_(8)
    kind = torch.rand(images, places, dtype=torch.float32, **options)
    labels = torch.randint(width, kind.shape, dtype=torch.int64, **options)
    positive, background = (labels, width) if classes else (1, 0)
    labels = torch.where(kind < 0.2, positive, torch.where(kind < 0.9, background, -1))
    errors = torch.rand(kind.shape, dtype=torch.float32, **options)
    return logits.to(dtype), labels, errors


def _run(
    compute: Callable[..., Tensor], name: str, batch: tuple[Tensor, ...], device: str
) -> list[Tensor]:
    """Value and gradients, on the CPU."""
    logits, targets, errors = (x.to(device, copy=True) for x in batch)
    leaves = logits.requires_grad_(), errors.requires_grad_()
    if logits.shape[-1] == _COUNTED:
        errors = errors[(targets >= 0) & (targets < _COUNTED)]
    value = compute(name, logits, targets, errors, logits.ndim > targets.ndim)
    incoming = torch.full_like(value, _INCOMING)
    gradients = torch.autograd.grad(value, leaves, incoming, allow_unused=True)
    return [x.detach().cpu() for x in (value, *gradients) if x is not None]


def _by_torch(
    name: str, logits: Tensor, targets: Tensor, errors: Tensor, class_indices: bool
) -> Tensor:
    options: dict[str, Any] = dict(class_indices=class_indices)
    with use_kernels('torch'):
        if name == 'dr':
            return dr_loss(logits, targets, image_ids=_image_ids(logits), **options)
        if name == 'auc':
            return auc_loss(logits, targets, **options)
        if name == 'alrp':
            loss = alrp_loss(logits, targets, errors, **options)
            return loss.cls + loss.loc
        return ap_loss(logits, targets, interpolated=name == 'interpolated_ap', **options)


def _by_kernels(
    name: str, logits: Tensor, targets: Tensor, errors: Tensor, class_indices: bool
) -> Tensor:
    """Not through the losses: they would ask for this trial, and a compiler for less."""
    if name == 'dr':
        default = {key: p.default for key, p in signature(dr_loss).parameters.items()}
        options = (default[key] for key in _DR_OPTIONS)
        ids = _image_ids(logits)
        return default['tau'] * fused_dr(logits, targets, ids, class_indices, *options)
    given = errors if name == 'alrp' else None
    value, loc_value, loc_gradient = fused_ranking(
        logits, targets, given, rule=name, delta=1.0, group='', class_indices=class_indices
    )
    return value if given is None else value + attach_gradient(errors, loc_value, loc_gradient)


def _image_ids(logits: Tensor) -> Tensor:
    """Two entries of the batch are of one image."""
    return torch.tensor([3, 0, 3, 1], device=logits.device)


def _difference(what: str, mine: Tensor, other: Tensor) -> str | None:
    unit = TOLERANCE
    if mine.dtype in (torch.float16, torch.bfloat16):
        unit = torch.finfo(mine.dtype).eps
    mine, other = mine.double(), other.double()
    bound = unit * other.abs().max().item()
    difference = (mine - other).abs().max().item()
    if difference <= bound:  # and not NaN
        return None
    return f'their {what} was {difference:.3g} away from that of plain torch, {bound:.3g} allowed,'


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), '')
