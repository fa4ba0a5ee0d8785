"""aLRP Loss: average Localisation-Recall-Precision for classification and boxes alike."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ._inputs import check_floating
from ._ranking import Ranking, Step
from ._step import cumsum
from ._update import RankingOp, Terms


class ALRPLoss(NamedTuple):
    """The two parts of aLRP Loss.

    Attributes:
        cls: mean of FP(i) / rank(i); carries the gradients of the scores.
        loc: mean localisation error, weighted by rank; carries the gradients of the errors.
    """

    cls: Tensor
    loc: Tensor


def _average_lrp(ranking: Ranking) -> Terms:
    false_positives, rank = ranking.false_positives, ranking.rank
    lrp_gap = (false_positives + ranking.positives_above(ranking.loc_errors)) / rank
    # The released loss sends nothing from a positive with hardly a negative above it: errors of
    # boxes alone would weigh on negatives that are almost out of reach. Written so that NaN stays.
    update = torch.where(false_positives <= 1e-5, 0.0, lrp_gap)
    # E(k) counts in l(i) for all i at or below k.
    below = torch.searchsorted(ranking.scores, ranking.scores, right=True) - 1
    loc_weights = cumsum(rank.reciprocal())[below]
    return Terms(loss=false_positives / rank, update=update, loc_weights=loc_weights)


_OP = RankingOp('average_lrp', _average_lrp, 'alrp')


def alrp_loss(
    logits: Tensor,
    targets: Tensor,
    loc_errors: Tensor,
    *,
    delta: float = 1.0,
    class_indices: bool = False,
    scope: str = 'batch',
    image_ids: Tensor | None = None,
    group: object = None,
    step: str = 'linear',
    scale: float = 1.0,
) -> ALRPLoss:
    r"""Average Localisation-Recall-Precision, for the scores and the boxes of the positives.

    With :math:`x_{ij} = s_j - s_i`, positives P, the step H and
    :math:`rank(i) = 1 + \sum_{k \in P, k \ne i} H(x_{ik}) + FP(i)` (Eq. 3 and 11):

    .. math::
        cls = \frac{1}{|P|} \sum_{i \in P} \frac{FP(i)}{rank(i)}, \qquad
        loc = \frac{1}{|P|} \sum_{i \in P} \frac{1}{rank(i)} \sum_{k \in P: s_k \ge s_i} E(k).

    The gradient of ``cls`` with respect to the logits is the error-driven update of Eq. 14, not
    a derivative of the value. It knows of both tasks: each positive asks for
    :math:`(FP(i) + \sum_{k \ne i} E(k) H(x_{ik})) / rank(i)`, spread over the negatives by
    :math:`H(x_{ij}) / FP(i)`. The gradient of ``loc`` is its derivative with respect to
    ``loc_errors``; ranks are constants there.

    Departs from the paper where its authors' release does: the localisation part orders the
    positives by the hard step (tied positives count each other) and ranks them by the smooth
    one, and a positive with :math:`FP(i) \le 10^{-5}` sends no classification update.

    Args:
        logits: scores of any shape, floating. Half precision is computed in float32.
        targets: 1 positive, 0 negative, -1 ignored, in the shape of ``logits``; or class
            indices, as :func:`ap_loss` takes them.
        loc_errors: E, floating, see :func:`localisation_error`: ``(|P|,)`` in the order that
            positives have in ``targets.flatten()``, or in the shape of ``targets`` or of
            ``logits.shape[:-1]`` and read at positives only. A vector of length \|P\| is always
            read the first way.
        delta: half-width of the linear step, 0 to 1e20; 0 is the Heaviside step with H(0) = 1.
        class_indices: ``targets`` hold one class per row of logits.
        scope: 'image', 'batch' or 'global', as in :func:`ap_loss`. With 'global' a process gets
            the gradients of its own logits and errors.
        image_ids: integers of shape ``logits.shape[:1]`` or ``logits.shape``; needed by 'image'.
        group: process group of 'global'; None for the default one.
        step: 'linear' or 'sigmoid', as in :func:`ap_loss`.
        scale: steepness of the sigmoid step, > 0.

    Returns:
        ``cls`` and ``loc``, scalars in float32 or wider; aLRP Loss is their sum, which lies in
        [0, 1] for errors in [0, 1] without ties. Zeros, with zero gradients, without positives.

    Raises:
        TypeError: a dtype cannot be meant.
        ValueError: shapes, devices, label values or options do not fit.

    Reference:
        Oksuz et al., A Ranking-based, Balanced Loss Function Unifying Classification and
        Localisation in Object Detection, NeurIPS 2020.

    Example:
        >>> import torch
        >>> logits = torch.tensor([4.0, 2.0, 0.0, -2.0], requires_grad=True)
        >>> errors = localisation_error(torch.tensor([0.9, 0.6])).requires_grad_()
        >>> loss = alrp_loss(logits, torch.tensor([0, 1, 0, 1]), errors)
        >>> (loss.cls + loss.loc).backward()
        >>> loss
        ALRPLoss(cls=tensor(0.5000, grad_fn=<_AttachBackward>), loc=tensor(0.1750, grad_fn=<_AttachBackward>))
        >>> logits.grad, errors.grad
        (tensor([ 0.3875, -0.2500,  0.1375, -0.2750]), tensor([0.3750, 0.1250]))
    """  # noqa: E501, the printed tensors are what they are
    cls, loc = _OP(
        logits,
        targets,
        loc_errors=loc_errors,
        step=Step(step, delta, scale),
        scope=scope,
        image_ids=image_ids,
        group=group,
        class_indices=class_indices,
    )
    return ALRPLoss(cls, loc)


def localisation_error(iou: Tensor, *, tau: float = 0.5, generalized: bool = False) -> Tensor:
    r"""The localisation error of a positive from the overlap of its box.

    .. math::
        E = \frac{1 - IoU}{1 - \tau}, \qquad E = \frac{1 - GIoU}{2 (1 - \tau)},

    the first as in Sec. 2.2; in the second (1 - GIoU) / 2, which lies in [0, 1] as 1 - IoU does,
    takes its place (Sec. 4).

    Args:
        iou: IoU in [0, 1], or generalized IoU in [-1, 1]; any shape.
        tau: IoU in [0, 1) from which a detection is a true positive; 0.7 for a region proposal
            network whose positives begin there.
        generalized: ``iou`` is generalized IoU.

    Returns:
        E in the shape of ``iou``, connected to it, in [0, 1 / (1 - tau)]; at most 1
        where IoU is at least tau.

    Raises:
        TypeError: ``iou`` is not a floating tensor.
        ValueError: tau is out of range.

    Example:
        >>> import torch
        >>> localisation_error(torch.tensor([1.0, 0.75, 0.5]))
        tensor([0.0000, 0.5000, 1.0000])
    """
    check_floating('iou', iou)
    if not 0 <= tau < 1:
        raise ValueError(f'tau must lie in [0, 1), got {tau!r}')
    return (1 - iou) / ((2 if generalized else 1) * (1 - tau))
