"""AP Loss: Average Precision as a loss, trained by error-driven updates."""

from __future__ import annotations

from torch import Tensor

from ._ranking import Ranking, Step
from ._update import RankingOp, Terms


def _average_precision(ranking: Ranking) -> Terms:
    error = ranking.false_positives / ranking.rank
    return Terms(loss=error, update=error)


def _interpolated_average_precision(ranking: Ranking) -> Terms:
    # Algorithm 1 lets precision only grow from the lowest positive up: its error only falls.
    error = (ranking.false_positives / ranking.rank).cummin(0).values
    return Terms(loss=error, update=error)


_PLAIN = RankingOp('average_precision', _average_precision, 'ap')
_INTERPOLATED = RankingOp(
    'interpolated_average_precision', _interpolated_average_precision, 'interpolated_ap'
)


def ap_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    delta: float = 1.0,
    interpolated: bool = True,
    class_indices: bool = False,
    scope: str = 'batch',
    image_ids: Tensor | None = None,
    group: object = None,
    step: str = 'linear',
    scale: float = 1.0,
) -> Tensor:
    r"""One minus the Average Precision of the scores of positives among those of negatives.

    With :math:`x_{ij} = s_j - s_i`, positives P, negatives N and the step H (Eq. 3, 5 and 21):

    .. math::
        L_{ij} = \frac{H(x_{ij})}{1 + \sum_{k \in P \cup N, k \ne i} H(x_{ik})}, \qquad
        \mathcal{L} = \frac{1}{|P|} \sum_{i \in P} \sum_{j \in N} L_{ij}.

    The gradient is the error-driven update of Eq. 14, not the derivative of the value: each
    positive is pushed up by :math:`\sum_j L_{ij} / |P|` and each negative pushed down by
    :math:`\sum_i L_{ij} / |P|`. Both are exact, in :math:`O((|P| + |N|) \log |P|)`, for the
    linear step; the sigmoid step visits all pairs, in bounded memory.

    All logits rank in one list, over classes as well as anchors (Sec. 3.1.1).

    Args:
        logits: scores of any shape, floating. Half precision is computed in float32.
        targets: 1 positive, 0 negative, -1 ignored, in the shape of ``logits``; or class
            indices, see below.
        delta: half-width of the linear step, 0 to 1e20; 0 is the Heaviside step with H(0) = 1.
        interpolated: let precision only grow from the lowest positive to the highest
            (Algorithm 1), in the value and in the gradient.
        class_indices: ``targets`` are integers of shape ``logits.shape[:-1]`` that hold the
            positive class 0..C-1, C for background, or -1 for ignored.
        scope: 'batch' ranks all of ``logits`` together; 'image' each image alone, and averages
            over the images that have a positive; 'global' ranks the logits of all processes
            together, and gives each the value, and the gradients of its own logits, that one
            process would get on the union.
        image_ids: integers of shape ``logits.shape[:1]`` or ``logits.shape``; needed by 'image'.
        group: process group of 'global'; None for the default one.
        step: 'linear', H(x) = clip(x / 2 delta + 1/2, 0, 1), or 'sigmoid',
            H(x) = 1 / (1 + exp(-scale x)).
        scale: steepness of the sigmoid step, > 0.

    Returns:
        Scalar in [0, 1], float32 or wider. Zero, with zero gradients, without positives.

    Raises:
        TypeError: a dtype cannot be meant.
        ValueError: shapes, devices, label values or options do not fit.

    Reference:
        Chen et al., AP-Loss for Accurate One-Stage Object Detection, TPAMI 2020.

    Example:
        >>> import torch
        >>> logits = torch.tensor([4.0, 2.0, 0.0, -2.0], requires_grad=True)
        >>> targets = torch.tensor([0, 1, 0, 1])
        >>> loss = ap_loss(logits, targets)
        >>> loss.backward()
        >>> loss, logits.grad
        (tensor(0.5000, grad_fn=<_AttachBackward>), tensor([ 0.3750, -0.2500,  0.1250, -0.2500]))
    """
    op = _INTERPOLATED if interpolated else _PLAIN
    value, _ = op(
        logits,
        targets,
        step=Step(step, delta, scale),
        scope=scope,
        image_ids=image_ids,
        group=group,
        class_indices=class_indices,
    )
    return value
