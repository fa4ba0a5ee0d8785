"""Distributional ranking loss (Qian et al., CVPR 2020)."""

from __future__ import annotations

from collections.abc import Callable
from math import e, log
from typing import NamedTuple

import torch
from torch import Tensor

from ._backend import chooses_kernels
from ._fused_dr import fused_dr, obstacle_of_dr
from ._groups import Groups, scatter_sum
from ._inputs import check_choice, check_inputs, check_number, read_inputs
from ._operator import DerivativeOp
from ._pairs import pull_back, sum_over_pairs
from ._surrogate import Surrogate

SURROGATES = ('logistic', 'quadratic', 'hinge')
PAIRINGS = ('dr', 'neg_only', 'all')


class DRLambdas(NamedTuple):
    """The two regularisers of :func:`dr_loss`."""

    pos_lambda: float
    neg_lambda: float


def dr_lambdas(pos_base: float = e, neg_base: float = 3.5) -> DRLambdas:
    """lambda+ = 1 / log(h+) and lambda- = 0.1 / log(h-), the form in which Table 1 tunes them.

    ``pos_base`` and ``neg_base`` are h+ and h-, the bases of the logarithm in the two KL
    divergences beside fixed weights 1 and 0.1 (Sec. 4.3).

    >>> dr_lambdas(5.5, 3.5)
    DRLambdas(pos_lambda=0.5865969315659691, neg_lambda=0.07982356001479281)
    """
    check_number('pos_base', pos_base, minimum=1, strict=True)
    check_number('neg_base', neg_base, minimum=1, strict=True)
    return DRLambdas(1 / log(pos_base), 0.1 / log(neg_base))


def dr_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    image_ids: Tensor | None = None,
    pos_lambda: float = 1.0,
    neg_lambda: float = 0.1 / log(3.5),
    smoothness: float = 6.0,
    margin: float = 0.5,
    tau: float = 4.0,
    surrogate: str = 'logistic',
    rho: float = 0.5,
    pairing: str = 'dr',
    neg_ratio: float | None = None,
    class_indices: bool = False,
) -> Tensor:
    r"""DR loss: rank the expected score of the positives above that of the negatives.

    With :math:`p = \mathrm{sigmoid}(\mathrm{logits})`, for each image (Eq. 6 and 9)

    .. math::
        \hat P_- = \sum_{j \in N} q_j p_j, \quad q_j \propto o_j \exp(p_j / \lambda_-), \qquad
        \hat P_+ = \sum_{i \in P} q_i p_i, \quad q_i \propto \exp(-p_i / \lambda_+), \qquad
        \ell = \ell(\hat P_- - \hat P_+ + \gamma)

    and the loss is :math:`\tau` times the mean of :math:`\ell` over the images. An image without
    positives has :math:`\hat P_+ = 1` and still pushes its negatives down; one without negatives
    has :math:`\hat P_- = 0`; one with neither is not counted. The gradient is the derivative
    (Appendix A).

    Args:
        logits: scores before the sigmoid, any shape.
        targets: 1 positive, 0 negative, -1 ignored, shape of ``logits``; or, with
            ``class_indices``, integers of shape ``logits.shape[:-1]``: 0..C-1 the positive
            class, C background, -1 ignored.
        image_ids: integers of shape ``logits.shape[:1]`` or ``logits.shape``; None: one image.
        pos_lambda: :math:`\lambda_+ > 0`. Small: only the lowest positives count.
        neg_lambda: :math:`\lambda_- > 0`. Small: only the highest negatives count. For the paper's
            h+ and h- see :func:`dr_lambdas`.
        smoothness: L > 0 of the logistic surrogate.
        margin: :math:`\gamma \ge 0`; 0.5 recovers classification at p = 0.5 (Corollary 1).
        tau: weight :math:`\tau \ge 0` beside the box loss (Sec. 3.3).
        surrogate: ``'logistic'`` log(1 + exp(L z)) / L (Eq. 8); ``'quadratic'``, the hinge rounded
            on [-rho, rho] (Eq. 7); ``'hinge'`` max(z, 0).
        rho: half-width > 0 of the quadratic surrogate.
        pairing: what is ranked in an image (Table 3). ``'dr'``: the two expectations;
            ``'neg_only'``: each positive against the expectation of the negatives, averaged;
            ``'all'``: each positive against each negative, averaged (Eq. 4), in blocks of bounded
            size. In the latter two an image without positives has one positive of score 1.
        neg_ratio: the original distribution o of the negatives. None: uniform. A number > 0: hard
            negative mining (Sec. 3.2): uniform over this many times as many of the highest
            negatives as the image has positives (at least one), and 0 elsewhere.
        class_indices: how to read ``targets``.

    Returns:
        Scalar, float32 or wider.

    Raises:
        TypeError: a dtype that cannot be meant.
        ValueError: shapes or values out of range.

    Reference:
        Qian, Chen, Li, Jin: DR Loss: Improving Object Detection by Distributional Ranking.
        CVPR 2020.

    Example:
        >>> logits = torch.tensor([2.0, 0.0, -2.0, -4.0], requires_grad=True)
        >>> loss = dr_loss(logits, torch.tensor([1, 0, 0, 0]))
        >>> round(loss.item(), 4)
        0.7307
        >>> loss.backward()
        >>> [round(g, 4) for g in logits.grad.tolist()]
        [-0.2796, 0.6944, -0.0087, -0.0006]
    """
    check_number('pos_lambda', pos_lambda, minimum=0, strict=True)
    check_number('neg_lambda', neg_lambda, minimum=0, strict=True)
    check_number('smoothness', smoothness, minimum=0, strict=True)
    check_number('margin', margin, minimum=0)
    check_number('tau', tau, minimum=0)
    check_number('rho', rho, minimum=0, strict=True)
    if neg_ratio is not None:
        check_number('neg_ratio', neg_ratio, minimum=0, strict=True)
    check_choice('surrogate', surrogate, SURROGATES)
    check_choice('pairing', pairing, PAIRINGS)
    check_inputs(logits, targets, class_indices=class_indices, image_ids=image_ids)
    if logits.numel() and chooses_kernels(
        logits, obstacle_of_dr(logits, image_ids, pairing, neg_ratio)
    ):
        return tau * fused_dr(
            logits, targets, image_ids, class_indices, float(pos_lambda), float(neg_lambda),
            surrogate, float(smoothness), float(rho), float(margin),
        )  # fmt: skip
    loss = _OP(
        logits, targets, image_ids, class_indices,
        float(pos_lambda), float(neg_lambda), surrogate, float(smoothness), float(rho),
        float(margin), pairing, None if neg_ratio is None else float(neg_ratio),
    )  # fmt: skip
    return tau * loss


def _compute(
    logits: Tensor,
    targets: Tensor,
    image_ids: Tensor | None,
    class_indices: bool,
    with_gradient: bool,
    pos_lambda: float,
    neg_lambda: float,
    surrogate: str,
    smoothness: float,
    rho: float,
    margin: float,
    pairing: str,
    neg_ratio: float | None,
) -> tuple[Tensor, Tensor | None]:
    """The loss without tau, and its gradient."""
    inputs = read_inputs(logits, targets, class_indices=class_indices, image_ids=image_ids)
    scores, positives, negatives = inputs.scores, inputs.positives, inputs.is_negative
    groups = Groups.from_ids(inputs.image_ids, len(scores), scores.device)
    num_positives = scatter_sum(torch.ones_like(positives), groups.of(positives), groups.count)
    if neg_ratio is not None:
        quota = (neg_ratio * num_positives.clamp(min=1)).clamp(min=1)
        negatives = groups.hardest(scores, negatives, quota)
    # What is not ranked may hold anything, NaN too.
    unranked = (~negatives).index_fill_(0, positives, False)
    p = scores.sigmoid().masked_fill_(unranked, 0)
    loss = Surrogate(surrogate, smoothness, rho, margin)
    gradient: Tensor | None
    if pairing == 'all':
        value, gradient = _rank_pairs(p, positives, negatives, groups, loss)
    else:
        value, gradient = _rank_expectations(
            p, positives, negatives, groups, num_positives, loss, neg_lambda,
            pos_lambda if pairing == 'dr' else None, with_gradient,
        )  # fmt: skip
    if gradient is None or not with_gradient:
        return value, None
    return value, gradient.mul_(p).mul_(p.neg_().add_(1))


_OP = DerivativeOp(
    'distributional_ranking',
    _compute,
    'float pos_lambda, float neg_lambda, str surrogate, float smoothness, float rho, '
    'float margin, str pairing, float? neg_ratio',
)


def _rank_expectations(
    p: Tensor,
    positives: Tensor,
    negatives: Tensor,
    groups: Groups,
    num_positives: Tensor,
    loss: Surrogate,
    neg_lambda: float,
    pos_lambda: float | None,
    with_gradient: bool,
) -> tuple[Tensor, Tensor | None]:
    """Pairing 'dr' or, where ``pos_lambda`` is None, 'neg_only'; the gradient is that of p."""
    # exp is shifted by its largest argument, so that any lambda is safe.
    rows = groups.rows(p)
    weight = rows - groups.spread(groups.amax(p * negatives))
    weight.div_(neg_lambda).masked_fill_(~groups.rows(negatives), -torch.inf).exp_()
    total = groups.sum_rows(weight.sum(1))
    has_negatives = total != 0  # so that a NaN counts
    total = torch.where(has_negatives, total, 1)
    mean_negative = groups.sum_rows((weight * rows).sum(1)) / total
    counted = has_negatives | (num_positives > 0)
    per_image = counted.double() / counted.sum().clamp(min=1)

    positive, group = p[positives].double(), groups.of(positives)
    num_positives = num_positives.clamp(min=1)
    if pos_lambda is None:
        each = mean_negative[group] - positive
        # Images without positives have one of score 1.
        alone = mean_negative - 1
        is_alone = torch.ones_like(counted).index_fill_(0, group, False)

        def average(function: Callable[[Tensor], Tensor]) -> Tensor:
            mean = scatter_sum(function(each), group, groups.count) / num_positives
            return torch.where(is_alone, function(alone), mean)

        value, slope = average(loss.value), average(loss.slope)
        of_positives = -loss.slope(each) / num_positives[group]
    else:
        lowest = torch.ones_like(total).scatter_reduce_(0, group, positive, 'amin')
        q = ((lowest[group] - positive) / pos_lambda).exp()
        q /= scatter_sum(q, group, groups.count)[group]
        missing = torch.ones_like(total).index_fill_(0, group, 0)
        mean_positive = scatter_sum(q * positive, group, groups.count) + missing
        z = mean_negative - mean_positive
        value, slope = loss.value(z), loss.slope(z)
        of_positives = slope[group] * q * ((positive - mean_positive[group]) / pos_lambda - 1)
    value = torch.where(counted, value, 0) @ per_image
    if not with_gradient:
        return value, None

    # q (1 + (p - P-) / lambda-) = weight / total / lambda- * (p + lambda- - P-)
    factor = slope * per_image / total / neg_lambda
    gradient = weight.mul_(rows + groups.spread(neg_lambda - mean_negative).to(p.dtype))
    gradient = gradient.mul_(groups.spread(factor).to(p.dtype)).view(-1)
    of_positives *= per_image[group]
    return value, gradient.index_copy_(0, positives, of_positives.to(p.dtype))


def _rank_pairs(
    p: Tensor, positives: Tensor, negatives: Tensor, groups: Groups, loss: Surrogate
) -> tuple[Tensor, Tensor]:
    """Pairing 'all', one image after the other; the gradient is that of p."""
    of_positives = groups.split(positives)
    of_negatives = groups.split(negatives.nonzero().squeeze(1))
    images = sorted(of_positives.keys() | of_negatives.keys())
    value, gradient = p.new_zeros((), dtype=torch.float64), torch.zeros_like(p)
    for image in images:
        above, below = of_positives.get(image), of_negatives.get(image)
        # Without positives (negatives) there is one, perfectly scored.
        high = p.new_ones(1) if above is None else p[above]
        low = p.new_zeros(1) if below is None else p[below]
        weight = 1 / (len(images) * len(high) * len(low))
        value += weight * sum_over_pairs(loss.value, high, low).sum()
        weights = torch.full_like(high, weight)
        for place, part in zip((above, below), pull_back(loss.slope, high, low, weights)):
            if place is not None:
                gradient[place] = part
    return value, gradient
