"""AP, AUC and aLRP Loss by the fused kernels, as torch sees them.

A forward pass ranks and keeps tables of the size of the positives; gradients are written by the
backward pass, once, in the dtype of the logits and times what comes in.
"""

from __future__ import annotations

import importlib
from contextlib import AbstractContextManager, nullcontext
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ._backend import VARIABLE, obstacle_of_trial
from ._inputs import find_positives, locate_loc_errors, wide
from ._library import define_operator
from ._scope import Processes, group_name
from ._step import LinearStep

if TYPE_CHECKING:
    from rankdet.kernels.ranking import Ordered, Positives

# Rows that are all taken as possible positives, so that nobody counts those that are.
_FEW_ROWS = 1 << 20
# Positives beyond which comparing all pairs costs more than a sort, where their number is known.
_MANY_POSITIVES = 1 << 16
# Places in 32 bits, with room for the last block.
_MOST_LOGITS = (1 << 31) - (1 << 12)


def obstacle_of_loss(
    logits: Tensor,
    targets: Tensor,
    loc_errors: Tensor | None,
    *,
    rule: str | None,
    step: str,
    scope: str,
    class_indices: bool,
) -> str | None:
    """Why the kernels cannot compute this loss; looks at no values.

    Raises:
        RuntimeError: they failed their trial on this process, and others wait for it.
    """
    if rule is None:
        return 'this loss has no kernel'
    if step != 'linear':
        return f'they know the linear step only, got step={step!r}'
    if scope == 'image':
        return "they rank a 'batch' or 'global', got scope='image'"
    by_row = scope == 'batch' and _is_bounded(logits, targets, loc_errors, class_indices)
    if torch.compiler.is_compiling() and not by_row:
        return 'a compiled graph needs sizes that do not depend on the number of positives'
    obstacle = obstacle_of_inputs(logits)
    if obstacle:
        return obstacle
    fault = obstacle_of_trial(logits, rule)
    if fault and group_name(scope):
        raise RuntimeError(
            f'{fault}. Processes that rank together must all take the same way: set '
            f'{VARIABLE}=torch for all of them'
        )
    return fault


def obstacle_of_inputs(logits: Tensor) -> str | None:
    """Why the kernels cannot take these logits."""
    if wide(logits.dtype) == torch.float64:
        return 'they compute in float32, and the logits are float64'
    if logits.numel() > _MOST_LOGITS:
        return f'they address {_MOST_LOGITS} logits at most, got {logits.numel()}'
    return None


def fused_ranking(
    logits: Tensor,
    targets: Tensor,
    loc_errors: Tensor | None,
    *,
    rule: str,
    delta: float,
    group: str,
    class_indices: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """The value, connected to ``logits``; the second value, and its gradient by the errors."""
    by_row = not group and _is_bounded(logits, targets, loc_errors, class_indices)
    value, loc_value, loc_gradient, *state = _RANK(
        logits.detach(),
        targets,
        None if loc_errors is None else loc_errors.detach(),
        rule,
        delta,
        group,
        class_indices,
        by_row,
    )
    if torch.is_grad_enabled() and logits.requires_grad:
        value = _Deferred.apply(logits, value, targets, class_indices, by_row, *state)
    return value, loc_value, loc_gradient


def load_kernels(name: str) -> ModuleType:
    """A module of kernels: imported by its first use, since it imports triton."""
    return importlib.import_module(f'rankdet.kernels.{name}')


def on_device(logits: Tensor) -> AbstractContextManager:
    """Within it kernels are launched where the logits are."""
    return torch.cuda.device(logits.device) if logits.is_cuda else nullcontext()


def flat_targets(targets: Tensor) -> Tensor:
    """As the kernels read them."""
    targets = targets.contiguous().view(-1)
    return targets.view(torch.uint8) if targets.dtype == torch.bool else targets


def _is_bounded(
    logits: Tensor, targets: Tensor, loc_errors: Tensor | None, class_indices: bool
) -> bool:
    """Whether there are so few rows that each may be a positive."""
    if not class_indices:
        return False
    if loc_errors is not None and loc_errors.shape not in (logits.shape, logits.shape[:-1]):
        return False
    return targets.numel() <= max(_FEW_ROWS, logits.numel() // 16)


def _rank(
    logits: Tensor,
    targets: Tensor,
    loc_errors: Tensor | None,
    rule: str,
    delta: float,
    group: str,
    class_indices: bool,
    by_row: bool,
) -> tuple[Tensor, ...]:
    kernels = load_kernels('ranking')
    processes = Processes(group)
    scores, labels = logits.contiguous().view(-1), flat_targets(targets)
    errors = None if loc_errors is None else loc_errors.reshape(-1)
    own = slice(None)
    found: Positives
    if by_row:
        per_row = loc_errors is not None and loc_errors.shape != logits.shape
        with on_device(logits):
            found = kernels.find_positives(scores, labels, errors, by_row=per_row)
        positions, places = labels.new_empty(0, dtype=torch.int32), found.error_places
        count = found.numbers[:1]
    else:
        # One synchronisation, which counts the positives and checks the labels.
        positions = find_positives(logits, targets, class_indices)
        everyone, own = processes.gather(scores[positions].float())
        if loc_errors is not None and errors is not None:
            places = locate_loc_errors(loc_errors, logits, targets, positions)
            errors, _ = processes.gather(errors[places].float())
        found = kernels.given_positives(everyone, own, errors)
        count = torch.full((1,), positions.shape[0], device=logits.device)
        positions = positions.int()
    ordered, num_negatives = None, None
    if not by_row and everyone.shape[0] > _MANY_POSITIVES:
        ordered = _sort_many(kernels, found, everyone, errors, delta)
    if rule == 'auc':
        if class_indices:
            # -1 in an unsigned type would be a class, 255: nothing is ignored there.
            kept = (labels != -1).sum() if labels.dtype.is_signed else labels.numel()
            num_negatives = kept * logits.shape[-1] - count
        else:
            num_negatives = (labels == 0).sum().view(1)
        num_negatives = processes.sum(num_negatives.double())
    with on_device(logits):
        ranked = kernels.rank(
            found,
            scores,
            labels,
            rule=rule,
            delta=delta,
            class_indices=class_indices,
            num_negatives=num_negatives,
            total=processes.sum if group else None,
            ordered=ordered,
        )
    value = ranked.value.view(()).float()
    if loc_errors is None:
        return value, value.new_zeros(()), value.new_empty(0), *ranked.state, positions
    assert found.errors is not None and places is not None
    dtype = wide(loc_errors.dtype)
    weights = ranked.weights
    loc_value = (weights * found.errors.double()).sum().to(dtype)
    loc_gradient = torch.zeros(loc_errors.numel(), dtype=dtype, device=logits.device)
    loc_gradient.index_add_(0, places, weights[own].to(dtype))
    return value, loc_value, loc_gradient.view(loc_errors.shape), *ranked.state, positions


def _sort_many(
    kernels: ModuleType,
    found: Positives,
    scores: Tensor,
    errors: Tensor | None,
    delta: float,
) -> Ordered:
    """The positives in order, and the sums of the step over them, as plain torch finds them."""
    found.numbers[kernels.POISON_AT] = scores.isnan().any()
    in_order, order = scores.double().sort(stable=True)
    step = LinearStep(in_order, delta, torch.float32)
    above = step.positives_above(torch.ones_like(in_order))
    errors_above = above if errors is None else step.positives_above(errors[order].double())
    return kernels.Ordered(order.int(), step.positives.float(), above, errors_above)


def _describe_rank(
    logits: Tensor, targets: Tensor, loc_errors: Tensor | None, *options: object
) -> tuple[Tensor, ...]:
    """Shapes of :func:`_rank`'s results by row, for the compiler."""
    rows = targets.numel()
    errors = logits.new_empty(0) if loc_errors is None else loc_errors
    dtype = wide(errors.dtype)
    int32, float32 = torch.int32, torch.float32
    kernels = load_kernels('ranking')
    is_half = logits.element_size() == 2
    sizes = (
        (1, kernels.HALVES, 0) if is_half else (2 * rows, 4 * rows, kernels.number_of_cells(rows))
    )
    state = (
        logits.new_empty(sizes[0], dtype=float32),
        logits.new_empty(sizes[1], dtype=float32),
        logits.new_empty(sizes[2], dtype=int32),
        logits.new_empty(1, dtype=float32),
        logits.new_empty(3, dtype=int32),
        logits.new_empty(rows, dtype=float32),
    )
    return (
        logits.new_empty((), dtype=float32),
        errors.new_empty((), dtype=dtype),
        errors.new_empty(errors.shape, dtype=dtype),
        *state,
        logits.new_empty(0, dtype=int32),
    )


def _write_gradient(
    logits: Tensor,
    targets: Tensor,
    incoming: Tensor,
    class_indices: bool,
    by_row: bool,
    *state_and_positions: Tensor,
) -> Tensor:
    kernels = load_kernels('ranking')
    *state, positions = state_and_positions
    with on_device(logits):
        gradient = kernels.gradient(
            kernels.State(*state),
            logits.contiguous().view(-1),
            flat_targets(targets),
            incoming,
            class_indices=class_indices,
            positions=None if by_row else positions,
        )
    return gradient.view(logits.shape)


_STATE = 'rounded', 'table', 'first', 'grid_scale', 'numbers', 'pull', 'positions'
_RANK = define_operator(
    'fused_ranking',
    '(Tensor logits, Tensor targets, Tensor? loc_errors, str rule, float delta, str group, '
    'bool class_indices, bool by_row) -> (' + ', '.join(['Tensor'] * (3 + len(_STATE))) + ')',
    _rank,
    _describe_rank,
)
_GRADIENT = define_operator(
    'fused_ranking_gradient',
    '(Tensor logits, Tensor targets, Tensor incoming, bool class_indices, bool by_row, '
    + ', '.join(f'Tensor {name}' for name in _STATE)
    + ') -> Tensor',
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
        class_indices: bool,
        by_row: bool,
        *state: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(logits, targets, *state)
        ctx.options = class_indices, by_row
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor | None, ...]:
        logits, targets, *state = ctx.saved_tensors
        gradient = _GRADIENT(logits, targets, incoming, *ctx.options, *state)
        return gradient, *[None] * (4 + len(state))
