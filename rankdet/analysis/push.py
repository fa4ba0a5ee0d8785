"""Where in the ranking a loss pushes: what tells losses apart on the very same scores."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss

from rankdet.functional import ap_loss, auc_loss


def focal_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Focal loss (Lin et al. 2017, Eq. 5; gamma 2, alpha 0.25), summed, over the positives.

    Args:
        logits: any shape.
        targets: same shape: 1 positive, 0 negative, -1 ignored.
    """
    kept, positives = targets >= 0, (targets == 1).sum()
    total = sigmoid_focal_loss(logits[kept], targets[kept].to(logits.dtype), reduction='sum')
    return total / positives.clamp(min=1)


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    'AP': ap_loss,
    'AUC': auc_loss,
    'focal': focal_loss,
}


def push(
    loss: Callable[[Tensor, Tensor], Tensor], logits: Tensor, targets: Tensor
) -> dict[str, float]:
    """Value of a loss, and how much of its push down reaches the highest negatives.

    Args:
        loss: of logits and targets.
        logits: any shape.
        targets: same shape: 1 positive, 0 negative, -1 ignored.

    Returns:
        ``value``; ``push``, the sum of the negatives' gradients; ``on_wrong``, the share of it on
        negatives above the median positive; ``on_highest``, on the \\|P\\| highest negatives;
        ``wrong``, how many negatives stand above the median positive; ``positives``, ``negatives``.
        Shares are NaN where nothing is pushed.

    Example:
        >>> logits = torch.tensor([3.0, 1.0, -8.0])
        >>> push(ap_loss, logits, torch.tensor([0, 1, 0]))['on_highest']
        1.0
    """
    value, share = _shares(loss, logits, targets)
    median = logits.detach()[targets == 1].median()
    positives = int((targets == 1).sum())
    wrong = int((logits.detach()[targets == 0] > median).sum())
    return dict(
        value=value,
        push=share[-1].item(),
        on_wrong=(share[wrong] / share[-1]).item(),
        on_highest=(share[min(positives, len(share) - 1)] / share[-1]).item(),
        wrong=wrong,
        positives=positives,
        negatives=len(share) - 1,
    )


def push_profile(
    loss: Callable[[Tensor, Tensor], Tensor], logits: Tensor, targets: Tensor
) -> Tensor:
    """Share of a loss' push down that is on the k highest negatives.

    Args:
        loss, logits, targets: see :func:`push`.

    Returns:
        ``(|N| + 1,)``, entry k for k negatives: from 0 to 1.

    Example:
        >>> logits = torch.tensor([3.0, 1.0, -8.0])
        >>> push_profile(ap_loss, logits, torch.tensor([0, 1, 0])).tolist()
        [0.0, 1.0, 1.0]
    """
    _, share = _shares(loss, logits, targets)
    return share / share[-1]


def _shares(
    loss: Callable[[Tensor, Tensor], Tensor], logits: Tensor, targets: Tensor
) -> tuple[float, Tensor]:
    """The value, and the push on the 0, 1, 2 ... highest negatives."""
    logits = logits.detach().clone().requires_grad_()
    value = loss(logits, targets)
    (gradient,) = torch.autograd.grad(value, logits)
    order = logits.detach()[targets == 0].argsort(descending=True)
    down = gradient[targets == 0].double()[order].cumsum(0)
    return value.item(), torch.cat([down.new_zeros(1), down])
