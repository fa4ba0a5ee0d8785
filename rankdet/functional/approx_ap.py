"""AP with a sigmoid for the step: the approximate gradient in Fig. 8 of the AP Loss paper."""

from __future__ import annotations

import torch
from torch import Tensor

from ._inputs import check_number, read_inputs
from ._operator import DerivativeOp
from ._pairs import finite, pull_back, sum_over_pairs


def approx_ap_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    scale: float = 1.0,
    log_space: bool = True,
    eps: float = 1e-6,
    class_indices: bool = False,
    image_ids: Tensor | None = None,
) -> Tensor:
    r"""Minus log of a smoothed AP, minimised by its ordinary derivative.

    With :math:`S(x) = \mathrm{sigmoid}(\mathrm{scale} \cdot x)` (supplementary Eq. 11 and 12)

    .. math::
        \widetilde{AP} = \frac{1}{|P|} \sum_{i \in P}
        \frac{1 + \sum_{k \in P, k \ne i} S(s_k - s_i)}
             {1 + \sum_{k \in P \cup N, k \ne i} S(s_k - s_i)}, \qquad
        \ell = -\log(\widetilde{AP} + \epsilon) \text{ or } 1 - \widetilde{AP}

    A comparison for :func:`ap_loss`, not a substitute: it is not convex and may stop at a bad
    ranking of separable data. Costs :math:`O(|P| (|P| + |N|))` in time and bounded memory. All
    scores are ranked together, infinite ones as huge ones. Without positives a zero connected to
    the graph.

    Args:
        logits: scores, any shape.
        targets: 1 positive, 0 negative, -1 ignored, shape of ``logits``; or, with
            ``class_indices``, integers of shape ``logits.shape[:-1]``: 0..C-1 the positive
            class, C background, -1 ignored.
        scale: steepness > 0 of the sigmoid.
        log_space: the log objective (Sec. 4.2.4) or, if False, 1 - AP.
        eps: :math:`\epsilon > 0` of the log objective.
        class_indices: how to read ``targets``.
        image_ids: checked and not used: one ranking for the batch.

    Returns:
        Scalar, float32 or wider.

    Raises:
        TypeError: a dtype that cannot be meant.
        ValueError: shapes or values out of range.

    Reference:
        Chen et al.: AP-Loss for Accurate One-Stage Object Detection. TPAMI 2020, after Song et
        al., ICML 2016 and Henderson and Ferrari, ACCV 2016.

    Example:
        >>> loss = approx_ap_loss(torch.zeros(2), torch.tensor([1, 0]), log_space=False)
        >>> round(loss.item(), 4)
        0.3333
    """
    check_number('scale', scale, minimum=0, strict=True)
    check_number('eps', eps, minimum=0, strict=True)
    return _OP(logits, targets, image_ids, class_indices, float(scale), log_space, float(eps))


def _compute(
    logits: Tensor,
    targets: Tensor,
    image_ids: Tensor | None,
    class_indices: bool,
    with_gradient: bool,
    scale: float,
    log_space: bool,
    eps: float,
) -> tuple[Tensor, Tensor | None]:
    inputs = read_inputs(logits, targets, class_indices=class_indices, image_ids=image_ids)
    scores = finite(inputs.scores)
    positive, negative = scores[inputs.positives], scores[inputs.is_negative]
    gradient = torch.zeros_like(scores) if with_gradient else None
    if not inputs.num_positives:
        return positive.sum(), gradient

    def step(x: Tensor) -> Tensor:
        return (scale * x).sigmoid_()

    def slope(x: Tensor) -> Tensor:
        s = step(x)
        return scale * s * (1 - s)

    rank_positive = sum_over_pairs(step, positive, positive) + 0.5  # 1, less the own S(0)
    false_positives = sum_over_pairs(step, positive, negative)
    rank = rank_positive + false_positives
    precision = (rank_positive / rank).mean()
    value = -(precision + eps).log() if log_space else (false_positives / rank).mean()
    if gradient is not None:
        outer = 1 / (precision + eps) if log_space else 1.0
        outer = outer / len(rank) / rank.square()
        by_row, by_column = pull_back(slope, positive, positive, -outer * false_positives)
        by_row_too, by_negative = pull_back(slope, positive, negative, outer * rank_positive)
        gradient[inputs.positives] = by_row + by_column + by_row_too
        gradient[inputs.is_negative] = by_negative
    return value, gradient


_OP = DerivativeOp('approx_ap', _compute, 'float scale, bool log_space, float eps')
