"""AUC Loss: the area above the ROC curve, trained by error-driven updates."""

from __future__ import annotations

from torch import Tensor

from ._ranking import Ranking, Step
from ._update import RankingOp, Terms


def _area_above_roc(ranking: Ranking) -> Terms:
    error = ranking.false_positives / ranking.num_negatives.clamp(min=1)
    return Terms(loss=error, update=error)


_OP = RankingOp('area_above_roc', _area_above_roc, 'auc')


def auc_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    delta: float = 1.0,
    class_indices: bool = False,
    scope: str = 'batch',
    image_ids: Tensor | None = None,
    group: object = None,
    step: str = 'linear',
    scale: float = 1.0,
) -> Tensor:
    r"""One minus the area under the ROC curve of positives against negatives.

    With :math:`x_{ij} = s_j - s_i`, positives P, negatives N and the step H (Eq. 7 and 21):

    .. math::
        L_{ij} = \frac{H(x_{ij})}{|N|}, \qquad
        \mathcal{L} = \frac{1}{|P|} \sum_{i \in P} \sum_{j \in N} L_{ij}.

    The gradient is the error-driven update of Eq. 14, not the derivative of the value. Unlike
    :func:`ap_loss` it weighs all misordered pairs alike, wherever they rank.

    Args:
        logits: scores of any shape, floating. Half precision is computed in float32.
        targets: 1 positive, 0 negative, -1 ignored, in the shape of ``logits``; or class
            indices, as :func:`ap_loss` takes them.
        delta: half-width of the linear step, 0 to 1e20; 0 is the Heaviside step with H(0) = 1.
        class_indices: ``targets`` hold one class per row of logits.
        scope: 'image', 'batch' or 'global', as in :func:`ap_loss`.
        image_ids: integers of shape ``logits.shape[:1]`` or ``logits.shape``; needed by 'image'.
        group: process group of 'global'; None for the default one.
        step: 'linear' or 'sigmoid', as in :func:`ap_loss`.
        scale: steepness of the sigmoid step, > 0.

    Returns:
        Scalar in [0, 1], float32 or wider. Zero, with zero gradients, without positives or
        without negatives.

    Raises:
        TypeError: a dtype cannot be meant.
        ValueError: shapes, devices, label values or options do not fit.

    Reference:
        Chen et al., AP-Loss for Accurate One-Stage Object Detection, TPAMI 2020.

    Example:
        >>> import torch
        >>> logits = torch.tensor([4.0, 2.0, 0.0, -2.0], requires_grad=True)
        >>> loss = auc_loss(logits, torch.tensor([0, 1, 0, 1]))
        >>> loss.backward()
        >>> loss, logits.grad
        (tensor(0.7500, grad_fn=<_AttachBackward>), tensor([ 0.5000, -0.2500,  0.2500, -0.5000]))
    """
    value, _ = _OP(
        logits,
        targets,
        step=Step(step, delta, scale),
        scope=scope,
        image_ids=image_ids,
        group=group,
        class_indices=class_indices,
    )
    return value
