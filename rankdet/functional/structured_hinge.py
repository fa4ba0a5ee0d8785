"""Structured hinge AP loss, a comparison of the AP Loss paper's Fig. 8."""

from __future__ import annotations

import torch
from torch import Tensor

from ._inputs import read_inputs
from ._operator import DerivativeOp
from ._pairs import finite


def structured_hinge_ap_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    class_indices: bool = False,
    image_ids: Tensor | None = None,
) -> Tensor:
    r"""Structured hinge loss of the ranking: a convex upper bound of 1 - AP.

    .. math::
        \ell = \max_R \Big[ 1 - AP(R) + F(R) - F(R^*) \Big], \qquad
        F(R) = \frac{1}{|P| |N|} \sum_{i \in P} \sum_{j \in N} R_{ij} (s_i - s_j)

    where R_ij is 1 if the ranking R puts i before j, else -1, and R* puts all positives first.
    The maximum (loss-augmented inference) is exact; the gradient is the subgradient at the
    maximising ranking, fewest misordered pairs among equals. All scores are ranked together,
    infinite ones as huge ones. Without positives or without negatives a zero connected to the
    graph.

    Args:
        logits: scores, any shape.
        targets: 1 positive, 0 negative, -1 ignored, shape of ``logits``; or, with
            ``class_indices``, integers of shape ``logits.shape[:-1]``: 0..C-1 the positive
            class, C background, -1 ignored.
        class_indices: how to read ``targets``.
        image_ids: checked and not used: one ranking for the batch.

    Returns:
        Scalar, float32 or wider.

    Raises:
        TypeError: a dtype that cannot be meant.
        ValueError: shapes or values out of range.

    Reference:
        Mohapatra et al.: Efficient Optimization for Rank-based Loss Functions. CVPR 2018;
        Yue et al.: A Support Vector Method for Optimizing Average Precision. SIGIR 2007.

    Example:
        >>> logits = torch.tensor([0.5, 0.75], requires_grad=True)
        >>> loss = structured_hinge_ap_loss(logits, torch.tensor([1, 0]))
        >>> loss.backward()
        >>> loss.item(), logits.grad.tolist()  # 1 - 1/2 + 2 (0.75 - 0.5)
        (1.0, [-2.0, 2.0])
    """
    return _OP(logits, targets, image_ids, class_indices)


def _compute(
    logits: Tensor,
    targets: Tensor,
    image_ids: Tensor | None,
    class_indices: bool,
    with_gradient: bool,
) -> tuple[Tensor, Tensor | None]:
    inputs = read_inputs(logits, targets, class_indices=class_indices, image_ids=image_ids)
    scores, positives = finite(inputs.scores), inputs.positives
    negatives = inputs.is_negative.nonzero().squeeze(1)
    num_pos, num_neg = len(positives), len(negatives)
    gradient = torch.zeros_like(scores) if with_gradient else None
    if num_pos == 0 or num_neg == 0:
        return scores.new_zeros(()), gradient
    positive, order = scores[positives].sort(descending=True)
    positives = positives[order]
    negative, order = scores[negatives].sort(descending=True)
    negatives = negatives[order]
    positive, negative = positive.double(), negative.double()
    # In the worst ranking both kinds are sorted, so counts describe it: how many negatives have
    # exactly 0..|P| positives before them.
    counts = _most_violating(positive, negative)
    before = counts.cumsum(0)[:-1].double()  # negatives before each positive
    place = torch.arange(1, num_pos + 1, device=counts.device)
    after = num_pos - torch.arange(num_pos + 1, device=counts.device)
    behind = after.double().repeat_interleave(counts)  # positives after each negative
    pair = 2 / (num_pos * num_neg)
    task_loss = (before / (place + before)).mean()
    value = task_loss + pair * (behind @ negative - before @ positive)
    if gradient is not None:
        gradient[positives] = (-pair * before).to(scores.dtype)
        gradient[negatives] = (pair * behind).to(scores.dtype)
    return value, gradient


_OP = DerivativeOp('structured_hinge_ap', _compute)


def _most_violating(positive: Tensor, negative: Tensor) -> Tensor:
    """``(P + 1,)`` numbers of negatives with 0..P positives before them, at the maximum.

    Both inputs descend. With both kinds in order, negative j gains from standing before the
    positives k = o + 1 .. P the sum of

        g_j(k) = k / (k + j - 1) - k / (k + j) - 2 (s_k - s_j) / |N|     (times 1 / |P|)

    and is best placed after the o that maximises it, independently of the others. As g falls with
    j, the best o never falls: the middle negative of a block of negatives bounds both halves. A
    block whose bounds meet is done, so each of log |N| levels looks at no more than |P| gains.
    """
    num_pos, num_neg = len(positive), len(negative)
    device = positive.device
    counts = torch.zeros(num_pos + 1, dtype=torch.int64, device=device)
    # Blocks of negatives first..last-1, whose o lies in low..high.
    first, low = torch.zeros(2, 1, dtype=torch.int64, device=device)
    last, high = first + num_neg, low + num_pos
    while len(first):
        middle = (first + last) // 2
        best = _best_places(positive, negative, middle, low, high)
        counts.index_add_(0, best, torch.ones_like(best))
        first, last = torch.cat([first, middle + 1]), torch.cat([middle, last])
        low, high = torch.cat([low, best]), torch.cat([best, high])
        done = (low == high) | (first == last)
        counts.index_add_(0, low[done], (last - first)[done])
        first, last, low, high = (x[~done] for x in (first, last, low, high))
    return counts


def _best_places(
    positive: Tensor, negative: Tensor, index: Tensor, low: Tensor, high: Tensor
) -> Tensor:
    """The best o in low..high for each negative of ``index``; the largest among equals."""
    sizes = high - low
    block = torch.arange(len(index), device=index.device).repeat_interleave(sizes)
    begins = sizes.cumsum(0) - sizes
    step = torch.arange(len(block), device=index.device) - begins[block]  # positives passed, - 1
    k = high[block] - step  # upwards from the last positive, 1-based
    j = index[block] + 1
    precision_lost = k / ((k + j - 1) * (k + j)).double()
    gain = precision_lost - 2 / len(negative) * (positive[k - 1] - negative[j - 1])
    total = gain.cumsum(0)
    total = total - (total - gain)[begins][block]
    best = torch.zeros(len(index), dtype=total.dtype, device=index.device)
    best = best.scatter_reduce(0, block, total, 'amax')
    # Passing none gains nothing; else the fewest steps that reach the best.
    steps = torch.where((total == best[block]) & (total > 0), step + 1, len(positive) + 1)
    passed = torch.full_like(sizes, len(positive) + 1).scatter_reduce(0, block, steps, 'amin')
    return high - torch.where(best > 0, passed, 0)
