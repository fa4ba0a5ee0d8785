"""Distributional ranking loss (Qian et al., CVPR 2020)."""

from __future__ import annotations

from collections.abc import Callable
from math import e, log
from typing import NamedTuple

import torch
from torch import Tensor

from ._groups import Groups, scatter_sum
from ._inputs import RankingInputs, check_choice, check_number, read_inputs
from ._pairs import sum_over_pairs

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
    (Appendix A), by ordinary autograd.

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
    _check_options(pos_lambda, neg_lambda, smoothness, margin, tau, rho, neg_ratio)
    check_choice('surrogate', surrogate, SURROGATES)
    check_choice('pairing', pairing, PAIRINGS)
    inputs = read_inputs(logits, targets, class_indices=class_indices, image_ids=image_ids)
    probabilities = torch.sigmoid(inputs.scores)
    groups = Groups.from_ids(inputs.image_ids, len(probabilities), probabilities.device)
    negatives = inputs.is_negative
    if neg_ratio is not None:
        negatives = _mine(inputs, groups, neg_ratio)

    def rank(z: Tensor) -> Tensor:
        return _surrogate(z + margin, surrogate, smoothness, rho)

    if pairing == 'all':
        loss = _all_pairs(probabilities, inputs.positives, negatives, groups, rank)
    else:
        loss = _expectations(
            probabilities, inputs.positives, negatives, groups, rank,
            pos_lambda=pos_lambda if pairing == 'dr' else None, neg_lambda=neg_lambda,
        )  # fmt: skip
    return tau * loss.to(probabilities.dtype)


def _check_options(
    pos_lambda: float,
    neg_lambda: float,
    smoothness: float,
    margin: float,
    tau: float,
    rho: float,
    neg_ratio: float | None,
) -> None:
    check_number('pos_lambda', pos_lambda, minimum=0, strict=True)
    check_number('neg_lambda', neg_lambda, minimum=0, strict=True)
    check_number('smoothness', smoothness, minimum=0, strict=True)
    check_number('margin', margin, minimum=0)
    check_number('tau', tau, minimum=0)
    check_number('rho', rho, minimum=0, strict=True)
    if neg_ratio is not None:
        check_number('neg_ratio', neg_ratio, minimum=0, strict=True)


def _surrogate(z: Tensor, kind: str, smoothness: float, rho: float) -> Tensor:
    if kind == 'logistic':
        return torch.logaddexp(smoothness * z, torch.zeros_like(z)) / smoothness
    if kind == 'quadratic':
        return (z.clamp(-rho, rho) + rho).square() / (4 * rho) + torch.relu(z - rho)
    return torch.relu(z)


def _mine(inputs: RankingInputs, groups: Groups, neg_ratio: float) -> Tensor:
    """The negatives to which hard negative mining gives a weight."""
    ones = torch.ones_like(inputs.positives)
    num_positives = scatter_sum(ones, groups.of(inputs.positives), groups.count)
    quota = (neg_ratio * num_positives.clamp(min=1)).long().clamp(min=1)
    return groups.hardest(inputs.scores, inputs.is_negative, quota)


def _expectations(
    probabilities: Tensor,
    positives: Tensor,
    negatives: Tensor,
    groups: Groups,
    rank: Callable[[Tensor], Tensor],
    *,
    pos_lambda: float | None,
    neg_lambda: float,
) -> Tensor:
    """Mean over images of rank(P- - P+), or of rank(P- - p+) averaged where pos_lambda is None."""
    expected_negative, has_negatives = _expected_negative(
        probabilities, negatives, groups, neg_lambda
    )
    positive = probabilities[positives]
    group = groups.of(positives)
    count = scatter_sum(torch.ones_like(positive), group, groups.count)
    if pos_lambda is None:
        each = rank(expected_negative[group] - positive)
        alone = rank(expected_negative - 1)
        losses = torch.where(
            count > 0, scatter_sum(each, group, groups.count) / count.clamp(min=1), alone
        )
    else:
        # exp is shifted by a bound, the largest -p, so that any lambda is safe.
        highest = torch.full_like(expected_negative, -1.0).scatter_reduce(
            0, group, -positive.detach().double(), 'amax', include_self=True
        )
        weight = ((-positive - highest[group]) / pos_lambda).exp()
        total = scatter_sum(weight, group, groups.count)
        total = torch.where(count > 0, total, 1)
        expected = scatter_sum(weight * positive, group, groups.count) / total
        losses = rank(expected_negative - torch.where(count > 0, expected, 1))
    counted = (count > 0) | has_negatives
    return torch.where(counted, losses, 0).sum() / counted.sum().clamp(min=1)


def _expected_negative(
    probabilities: Tensor, negatives: Tensor, groups: Groups, neg_lambda: float
) -> tuple[Tensor, Tensor]:
    """P- of each image, 0 without negatives, and whether it has any."""
    p = groups.rows(probabilities)
    mask = groups.rows(negatives)
    highest = groups.amax(probabilities.detach() * negatives)
    # Filled before exp: what is masked may not overflow, its gradient would be 0 * inf.
    exponent = ((p - groups.spread(highest)) / neg_lambda).masked_fill(~mask, -torch.inf)
    weight = exponent.exp()
    total = groups.sum_rows(weight.sum(1))
    has_negatives = total != 0  # so that a NaN counts
    expected = groups.sum_rows((weight * p).sum(1)) / torch.where(has_negatives, total, 1)
    return expected, has_negatives


def _all_pairs(
    probabilities: Tensor,
    positives: Tensor,
    negatives: Tensor,
    groups: Groups,
    rank: Callable[[Tensor], Tensor],
) -> Tensor:
    """Mean over images of the mean of rank(p- - p+) over the pairs of an image."""
    of_positives = groups.split(positives)
    of_negatives = groups.split(negatives.nonzero().squeeze(1))
    # An image without positives (negatives) has one, perfectly scored.
    one, zero = probabilities.new_ones(1), probabilities.new_zeros(1)
    losses = [probabilities[positives[:0]].sum().double()]
    images = sorted(of_positives.keys() | of_negatives.keys())
    for image in images:
        above = probabilities[of_positives[image]] if image in of_positives else one
        below = probabilities[of_negatives[image]] if image in of_negatives else zero
        losses.append(sum_over_pairs(rank, above, below).double().sum() / len(above) / len(below))
    return torch.stack(losses).sum() / max(1, len(images))
