"""DR Loss by the fused kernels, as torch sees it; see :mod:`._fused`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ._backend import obstacle_of_trial
from ._fused import flat_targets, load_kernels, obstacle_of_inputs, on_device
from ._groups import Groups
from ._library import define_operator
from ._surrogate import Surrogate

# Images of fewer scores than this in a row would leave most of each block idle.
_NARROW = 16


def obstacle_of_dr(
    logits: Tensor, image_ids: Tensor | None, pairing: str, neg_ratio: float | None
) -> str | None:
    """Why the kernels cannot compute this loss; looks at no values."""
    if pairing != 'dr':
        return f"they know pairing='dr' only, got {pairing!r}"
    if neg_ratio is not None:
        return f'they mine no hard negatives, got neg_ratio={neg_ratio!r}'
    if image_ids is not None and logits.numel() // image_ids.shape[0] < _NARROW:
        return f'image_ids must name rows of {_NARROW} logits or more'
    return obstacle_of_inputs(logits) or obstacle_of_trial(logits, 'dr')


def fused_dr(
    logits: Tensor,
    targets: Tensor,
    image_ids: Tensor | None,
    class_indices: bool,
    pos_lambda: float,
    neg_lambda: float,
    *surrogate: Any,
) -> Tensor:
    """The loss without tau, connected to ``logits``; ``surrogate`` as its class takes it."""
    options = class_indices, pos_lambda, neg_lambda
    value, *state = _RANK(logits.detach(), targets, image_ids, *options, *surrogate)
    if torch.is_grad_enabled() and logits.requires_grad:
        value = _Deferred.apply(logits, value, targets, options, *state)
    return value


def _rank(
    logits: Tensor,
    targets: Tensor,
    image_ids: Tensor | None,
    class_indices: bool,
    pos_lambda: float,
    neg_lambda: float,
    *surrogate: Any,
) -> tuple[Tensor, ...]:
    kernels = load_kernels('dr')
    ids = None if image_ids is None else image_ids.reshape(-1)
    loss = Surrogate(*surrogate)
    if ids is None or ids.shape[0] <= kernels.FEW_ROWS:
        with on_device(logits):
            value, state = kernels.rank_few(
                logits.contiguous().view(-1),
                flat_targets(targets),
                None if ids is None else ids.contiguous(),
                pos_lambda=pos_lambda,
                neg_lambda=neg_lambda,
                class_indices=class_indices,
                **loss._asdict(),
            )
        return value.float(), *state
    groups = Groups.from_ids(ids, logits.numel(), logits.device)
    with on_device(logits):
        value, state = kernels.rank(
            logits.contiguous().view(-1),
            flat_targets(targets),
            groups.index,
            groups.count,
            pos_lambda=pos_lambda,
            neg_lambda=neg_lambda,
            value=loss.value,
            slope=loss.slope,
            class_indices=class_indices,
        )
    # An operator's result is no view of what it was given.
    return value.float(), state.terms, state.image.clone()


def _describe_rank(
    logits: Tensor, targets: Tensor, image_ids: Tensor | None, *options: object
) -> tuple[Tensor, Tensor, Tensor]:
    rows = 1 if image_ids is None else image_ids.shape[0]
    return (
        logits.new_empty((), dtype=torch.float32),
        logits.new_empty((rows, 6), dtype=torch.float32),
        logits.new_empty(rows, dtype=torch.int64),
    )


def _write_gradient(
    logits: Tensor,
    targets: Tensor,
    incoming: Tensor,
    class_indices: bool,
    pos_lambda: float,
    neg_lambda: float,
    terms: Tensor,
    image: Tensor,
) -> Tensor:
    kernels = load_kernels('dr')
    with on_device(logits):
        gradient = kernels.gradient(
            kernels.State(terms, image),
            logits.contiguous().view(-1),
            flat_targets(targets),
            incoming,
            pos_lambda=pos_lambda,
            neg_lambda=neg_lambda,
            class_indices=class_indices,
        )
    return gradient.view(logits.shape)


_RANK = define_operator(
    'fused_dr',
    '(Tensor logits, Tensor targets, Tensor? image_ids, bool class_indices, float pos_lambda, '
    'float neg_lambda, str kind, float smoothness, float rho, float margin) '
    '-> (Tensor, Tensor, Tensor)',
    _rank,
    _describe_rank,
)
_GRADIENT = define_operator(
    'fused_dr_gradient',
    '(Tensor logits, Tensor targets, Tensor incoming, bool class_indices, float pos_lambda, '
    'float neg_lambda, Tensor terms, Tensor image) -> Tensor',
    _write_gradient,
    lambda logits, *rest: torch.empty_like(logits, memory_format=torch.contiguous_format),
)


class _Deferred(torch.autograd.Function):
    """A value whose gradient the second pass writes when it is asked for."""

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        value: Tensor,
        targets: Tensor,
        options: tuple,
        *state: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(logits, targets, *state)
        ctx.options = options
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor | None, ...]:
        logits, targets, *state = ctx.saved_tensors
        gradient = _GRADIENT(logits, targets, incoming, *ctx.options, *state)
        return gradient, None, None, None, *[None] * len(state)
