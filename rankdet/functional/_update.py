"""From a rule on rankings to a loss: the error-driven update, as torch sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ._backend import chooses_kernels
from ._fused import fused_ranking, obstacle_of_loss
from ._inputs import (
    RankingInputs,
    check_device,
    check_floating,
    check_inputs,
    locate_loc_errors,
    read_inputs,
    wide,
)
from ._library import define_operator
from ._ranking import Ranking, Step
from ._scope import Processes, check_scope, group_name, split_images


class Terms(NamedTuple):
    """What a loss says of each positive, in ascending order of score.

    Attributes:
        loss: l(i), the value.
        update: l(i) - l*(i), what is sent back to the scores.
        loc_weights: factor of the positive's own localisation error in a second value.
        share: p(j|i) as :meth:`.Ranking.gradient` takes it.
        normalizer: Z, None for the number of positives.
    """

    loss: Tensor
    update: Tensor
    loc_weights: Tensor | None = None
    share: Callable[[Tensor], Tensor] | None = None
    normalizer: Tensor | float | None = None


class Update(NamedTuple):
    """Values, and their gradients with respect to scores ``(n,)`` and errors ``(P,)``."""

    value: Tensor
    gradient: Tensor
    loc_value: Tensor
    loc_gradient: Tensor


Rule = Callable[[Ranking], Terms]


def follow(
    rule: Rule,
    inputs: RankingInputs,
    *,
    step: Step,
    scope: str = 'batch',
    group: str = '',
    with_gradient: bool = True,
) -> Update:
    """Rank ``inputs`` in the given scope, as ``rule`` says."""
    with torch.no_grad(), torch.autocast(inputs.scores.device.type, enabled=False):
        if scope == 'image':
            return _mean_over_images(rule, inputs, step, with_gradient)
        return _follow_one(rule, inputs, step, Processes(group), with_gradient)


def _follow_one(
    rule: Rule, inputs: RankingInputs, step: Step, processes: Processes, with_gradient: bool
) -> Update:
    ranking = Ranking(inputs, step, processes)
    terms = rule(ranking)
    z = len(ranking) if terms.normalizer is None else terms.normalizer
    z = z if len(ranking) else 1
    empty = ranking.scores.new_empty(0)
    gradient = ranking.gradient(terms.update / z, terms.share) if with_gradient else empty
    if terms.loc_weights is None:
        return Update(terms.loss.sum() / z, gradient, empty.sum(), empty)
    weights = terms.loc_weights / z
    loc_value = (weights * ranking.loc_errors).sum()
    return Update(terms.loss.sum() / z, gradient, loc_value, ranking.restore(weights))


def _mean_over_images(rule: Rule, inputs: RankingInputs, step: Step, with_gradient: bool) -> Update:
    """Rank each image alone; the mean over the images that have a positive."""
    parts = list(split_images(inputs))
    scores, count = inputs.scores.detach(), max(len(parts), 1)
    # Two tensors: an operator's results must not share memory.
    value = scores.new_zeros((), dtype=torch.float64)
    loc_value = torch.zeros_like(value)
    gradient = torch.zeros_like(scores)
    loc_gradient = scores.new_zeros(inputs.num_positives, dtype=torch.float64)
    for part, rows in parts:
        update = _follow_one(rule, part, step, Processes(), with_gradient)
        value = value + update.value / count
        loc_value = loc_value + update.loc_value / count
        if with_gradient:
            assert inputs.image_ids is not None
            by_row = gradient.view(inputs.image_ids.shape[0], -1)
            by_row[rows] = update.gradient.view(rows.shape[0], -1) / count
        if update.loc_gradient.numel():
            loc_gradient[part.members] = update.loc_gradient / count
    return Update(value, gradient, loc_value, loc_gradient)


class RankingOp:
    """A rule as one operator: read the inputs, rank, and return values with gradients.

    An operator is opaque to :func:`torch.compile`. The sizes that depend on the data, such as
    the number of positives, stay inside, and the graph around a loss is never broken.

    Args:
        name: of the operator.
        rule: on plain torch, any device.
        kernel: name of the same rule among the fused kernels.
    """

    _SCHEMA = (
        '(Tensor logits, Tensor targets, Tensor? loc_errors, Tensor? image_ids, '
        'bool class_indices, str step, float delta, float scale, str scope, str group, '
        'bool with_gradient) -> (Tensor, Tensor, Tensor, Tensor)'
    )

    def __init__(self, name: str, rule: Rule, kernel: str | None = None) -> None:
        def run(*args: Any) -> tuple[Tensor, ...]:
            return tuple(_run(rule, *args))

        self._op = define_operator(name, self._SCHEMA, run, _describe)
        self._kernel = kernel

    def __call__(
        self,
        logits: Tensor,
        targets: Tensor,
        *,
        step: Step,
        scope: str,
        loc_errors: Tensor | None = None,
        image_ids: Tensor | None = None,
        group: object = None,
        class_indices: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """The value, connected to ``logits``, and the second, connected to ``loc_errors``."""
        check_inputs(logits, targets, class_indices=class_indices, image_ids=image_ids)
        check_scope(scope, image_ids, group)
        step.check()
        if loc_errors is not None:
            check_floating('loc_errors', loc_errors)
            check_device('loc_errors', loc_errors, logits)
        together = group_name(scope, group)
        # Processes that rank together must take the same way, whatever each one's share.
        if (logits.numel() or together) and chooses_kernels(
            logits,
            obstacle_of_loss(
                logits,
                targets,
                loc_errors,
                rule=self._kernel,
                step=step.kind,
                scope=scope,
                class_indices=class_indices,
            ),
        ):
            assert self._kernel is not None  # no obstacle, so there is one
            value, loc_value, loc_gradient = fused_ranking(
                logits,
                targets,
                loc_errors,
                rule=self._kernel,
                delta=float(step.delta),
                group=together,
                class_indices=class_indices,
            )
            if loc_errors is not None:
                loc_value = attach_gradient(loc_errors, loc_value, loc_gradient)
            return value, loc_value
        with_gradient = torch.is_grad_enabled() and logits.requires_grad
        value, gradient, loc_value, loc_gradient = self._op(
            logits.detach(),
            targets,
            None if loc_errors is None else loc_errors.detach(),
            image_ids,
            class_indices,
            step.kind,
            float(step.delta),
            float(step.scale),
            scope,
            together,
            with_gradient,
        )
        if loc_errors is not None:
            loc_value = attach_gradient(loc_errors, loc_value, loc_gradient)
        return attach_gradient(logits, value, gradient), loc_value


def _run(
    rule: Rule,
    logits: Tensor,
    targets: Tensor,
    loc_errors: Tensor | None,
    image_ids: Tensor | None,
    class_indices: bool,
    step: str,
    delta: float,
    scale: float,
    scope: str,
    group: str,
    with_gradient: bool,
) -> Update:
    inputs = read_inputs(logits, targets, class_indices=class_indices, image_ids=image_ids)
    if loc_errors is not None:
        places = locate_loc_errors(loc_errors, logits, targets, inputs.positives)
        inputs = replace(inputs, loc_errors=loc_errors.reshape(-1)[places])
    update = follow(
        rule,
        inputs,
        step=Step(step, delta, scale),
        scope=scope,
        group=group,
        with_gradient=with_gradient,
    )
    dtype = wide(logits.dtype)
    value = update.value.to(dtype)
    gradient = update.gradient.view(logits.shape) if with_gradient else value.new_empty(0)
    if loc_errors is None:
        return Update(value, gradient, value.new_zeros(()), value.new_empty(0))
    loc_dtype = wide(loc_errors.dtype)
    loc_gradient = torch.zeros(loc_errors.numel(), dtype=loc_dtype, device=logits.device)
    loc_gradient.index_add_(0, places, update.loc_gradient.to(loc_dtype))
    return Update(
        value, gradient, update.loc_value.to(loc_dtype), loc_gradient.view(loc_errors.shape)
    )


def _describe(
    logits: Tensor, targets: Tensor, loc_errors: Tensor | None, *options: object
) -> Update:
    """Shapes and dtypes of :func:`_run`'s results, for the compiler."""
    errors = logits.new_empty(0) if loc_errors is None else loc_errors
    dtype, loc_dtype = wide(logits.dtype), wide(errors.dtype)
    shape = logits.shape if options[-1] else (0,)
    return Update(
        logits.new_empty((), dtype=dtype),
        logits.new_empty(shape, dtype=dtype),
        errors.new_empty((), dtype=loc_dtype),
        errors.new_empty(errors.shape, dtype=loc_dtype),
    )


class _Attach(torch.autograd.Function):
    """A value whose gradient with respect to its input is known already."""

    @staticmethod
    def forward(ctx: Any, of: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(gradient)
        ctx.dtype = of.dtype
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        # Scaled before it is narrowed: a loss scale must reach a half precision gradient whole.
        return (gradient * incoming).to(ctx.dtype), None, None


def attach_gradient(of: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
    """``value`` as a function of ``of`` whose backward pass multiplies ``gradient``."""
    if not (torch.is_grad_enabled() and of.requires_grad):
        return value
    return _Attach.apply(of, value, gradient)
