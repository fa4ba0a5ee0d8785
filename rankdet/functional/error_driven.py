"""The frame that all error-driven ranking losses share, to write new ones in."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ._inputs import read_inputs
from ._ranking import Ranking, Step
from ._scope import check_scope, group_name
from ._update import Terms, attach_gradient, follow


def error_driven_loss(
    logits: Tensor,
    targets: Tensor,
    loss: Callable[[Ranking], Tensor],
    *,
    target: Callable[[Ranking], Tensor] | None = None,
    share: Callable[[Tensor], Tensor] | None = None,
    normalizer: Callable[[Ranking], Tensor | float] | None = None,
    delta: float = 1.0,
    class_indices: bool = False,
    scope: str = 'batch',
    image_ids: Tensor | None = None,
    group: object = None,
    step: str = 'linear',
    scale: float = 1.0,
) -> Tensor:
    r"""A ranking loss from what each positive has lost, and its error-driven update.

    A loss :math:`\mathcal{L} = \frac{1}{Z} \sum_{i \in P} \ell(i)` is spread over the negatives
    by a probability :math:`p(j|i)` (Definition 1). Its primary terms, targets and gradient are
    (Algorithm 1, Eq. 5)

    .. math::
        L_{ij} = \ell(i) p(j|i), \qquad L^*_{ij} = \ell^*(i) p(j|i), \qquad
        \frac{\partial \mathcal{L}}{\partial s_i} =
        \frac{1}{Z} \Big( \sum_j (L^*_{ij} - L_{ij}) - \sum_j (L^*_{ji} - L_{ji}) \Big).

    Positives and negatives thus receive gradients of equal sum (Theorem 2). The gradient is
    this update, not the derivative of the value. The rule runs as plain Python: under
    :func:`torch.compile` it breaks the graph, which the named losses do not.

    The callables get a :class:`Ranking` and return one value per positive, in ascending order
    of score. It offers, in float64 and in that order,

    * ``scores``, ``rank``, ``rank_among_positives`` and ``false_positives``;
    * ``positives_above(w)``, the sums of :math:`w_k H(x_{ik})` over the other positives k;
    * ``align(values)``, which brings values per positive, given in the order of
      ``targets.flatten()``, into the order of scores;
    * ``len(ranking)`` and ``num_negatives``.

    Args:
        logits: scores of any shape, floating. Half precision is computed in float32.
        targets: 1 positive, 0 negative, -1 ignored, in the shape of ``logits``; or class
            indices, as :func:`ap_loss` takes them.
        loss: :math:`\ell(i)`.
        target: :math:`\ell^*(i)`, the loss of i when it is ranked properly; None for 0. Read as 0
            where :math:`\ell(i)` is not above 0.
        share: :math:`p(j|i)` up to a factor, as a function >= 0 of a matrix of
            :math:`x_{ij} = s_j - s_i`, applied elementwise; None for H. A positive whose shares
            are all 0 sends no update. With a ``share`` all pairs are visited, in bounded memory
            and in the dtype of the scores: ``torch.exp`` overflows in float32 above 88.
        normalizer: Z > 0; None for \|P\|.
        delta: half-width of the linear step, 0 to 1e20; 0 is the Heaviside step with H(0) = 1.
        class_indices: ``targets`` hold one class per row of logits.
        scope: 'image', 'batch' or 'global', as in :func:`ap_loss`.
        image_ids: integers of shape ``logits.shape[:1]`` or ``logits.shape``; needed by 'image'.
        group: process group of 'global'; None for the default one.
        step: 'linear' or 'sigmoid', as in :func:`ap_loss`.
        scale: steepness of the sigmoid step, > 0.

    Returns:
        Scalar in float32 or wider. Zero, with zero gradients, without positives.

    Raises:
        TypeError: a dtype cannot be meant.
        ValueError: shapes, devices, label values or options do not fit.

    Reference:
        Oksuz et al., A Ranking-based, Balanced Loss Function Unifying Classification and
        Localisation in Object Detection, NeurIPS 2020.

    Example:
        A loss from Normalised Discounted Cumulative Gain:

        >>> import torch
        >>> def gain_lost(ranking):
        ...     best, actual = ranking.rank_among_positives, ranking.rank
        ...     return 1 / torch.log2(1 + best) - 1 / torch.log2(1 + actual)
        >>> def ideal_gain(ranking):
        ...     return (1 / torch.log2(torch.arange(len(ranking)).double() + 2)).sum()
        >>> logits = torch.tensor([4.0, 2.0, 0.0, -2.0], requires_grad=True)
        >>> targets = torch.tensor([0, 1, 0, 1])
        >>> loss = error_driven_loss(logits, targets, gain_lost, normalizer=ideal_gain)
        >>> loss.backward()
        >>> loss, logits.grad
        (tensor(0.3491, grad_fn=<_AttachBackward>), tensor([ 0.2877, -0.2263,  0.0614, -0.1228]))

        AP Loss without interpolation is ``loss=lambda r: r.false_positives / r.rank``.
    """
    check_scope(scope, image_ids, group)
    h = Step(step, delta, scale)
    h.check()

    def rule(ranking: Ranking) -> Terms:
        value = _per_positive('loss', loss(ranking), ranking)
        update = value
        if target is not None:
            # Line 2 of Algorithm 1: nothing lost leaves nothing to aim at.
            best = _per_positive('target', target(ranking), ranking)
            update = value - torch.where(value > 0, best, 0.0)
        z = None if normalizer is None else normalizer(ranking)
        return Terms(value, update, share=share, normalizer=z)

    inputs = read_inputs(logits, targets, class_indices=class_indices, image_ids=image_ids)
    with_gradient = torch.is_grad_enabled() and logits.requires_grad
    update = follow(
        rule,
        inputs,
        step=h,
        scope=scope,
        group=group_name(scope, group),
        with_gradient=with_gradient,
    )
    value = update.value.to(inputs.scores.dtype)
    if not with_gradient:
        return value
    return attach_gradient(logits, value, update.gradient.view(logits.shape))


def _per_positive(name: str, values: Tensor, ranking: Ranking) -> Tensor:
    if not isinstance(values, Tensor) or values.shape != ranking.scores.shape:
        found = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise ValueError(
            f'{name} must return one value per positive, shape {tuple(ranking.scores.shape)}, '
            f'got {found}'
        )
    return values.double()
