"""Losses with a true derivative, each as one operator that gives value and gradient at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ._inputs import check_inputs, wide
from ._library import define_operator
from ._update import attach_gradient

# (logits, targets, image_ids, class_indices, with_gradient, *options) -> (value, gradient)
Computation = Callable[..., tuple[Tensor, Tensor | None]]


class DerivativeOp:
    """A computation that :func:`torch.compile` keeps whole.

    Sizes that depend on the data stay inside, so the graph around a loss is never broken; and
    nothing but the gradient itself waits for the backward pass.

    Args:
        name: of the operator.
        compute: returns a scalar and its gradient in the shape of logits, None without
            ``with_gradient``.
        options: types and names of its further arguments, as in an operator's schema.
    """

    def __init__(self, name: str, compute: Computation, options: str = '') -> None:
        def run(logits: Tensor, *arguments: Any) -> tuple[Tensor, Tensor]:
            with torch.autocast(logits.device.type, enabled=False):
                value, gradient = compute(logits, *arguments)
            dtype = wide(logits.dtype)
            if gradient is None:
                return value.to(dtype), logits.new_empty(0, dtype=dtype)
            return value.to(dtype), gradient.to(dtype).view(logits.shape)

        def describe(logits: Tensor, *arguments: Any) -> tuple[Tensor, Tensor]:
            with_gradient, dtype = arguments[3], wide(logits.dtype)
            shape = logits.shape if with_gradient else (0,)
            return logits.new_empty((), dtype=dtype), logits.new_empty(shape, dtype=dtype)

        schema = (
            '(Tensor logits, Tensor targets, Tensor? image_ids, bool class_indices, '
            f'bool with_gradient{options and ", " + options}) -> (Tensor, Tensor)'
        )
        self._op = define_operator(name, schema, run, describe)

    def __call__(
        self,
        logits: Tensor,
        targets: Tensor,
        image_ids: Tensor | None,
        class_indices: bool,
        *options: object,
    ) -> Tensor:
        """The value, connected to ``logits``."""
        check_inputs(logits, targets, class_indices=class_indices, image_ids=image_ids)
        with_gradient = torch.is_grad_enabled() and logits.requires_grad
        value, gradient = self._op(
            logits.detach(), targets, image_ids, class_indices, with_gradient, *options
        )
        return attach_gradient(logits, value, gradient)
