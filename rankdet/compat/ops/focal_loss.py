"""Sigmoid focal loss per element, forward and backward, on any device.

Lin et al., Focal Loss for Dense Object Detection, Eq. 5: with p = sigmoid(x),
    FL = -alpha (1 - p)^gamma log(p)  where the column is the target,
    FL = -(1 - alpha) p^gamma log(1 - p)  elsewhere.
Logarithms come from the logits, so the loss stays right where float32 rounds p to 0 or 1
(|x| > 16); mmcv's kernel clamps them at log(1.2e-38) there.
"""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from rankdet.compat.ops.precision import widened


@torch.no_grad()
def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Writes the loss of ``input`` (n, C), ``target`` (n,) in 0..C, C background, to ``output``.

    ``weight``: empty, or one per class: a row is multiplied by the weight of its target
    (background: 1; mmcv's kernel reads past the end).
    """
    (x,) = widened(input)
    hit = -alpha * torch.sigmoid(-x) ** gamma * logsigmoid(x)
    miss = (alpha - 1) * torch.sigmoid(x) ** gamma * logsigmoid(-x)
    output.copy_(torch.where(_is_target(x, target), hit, miss) * _row_weight(x, target, weight))


@torch.no_grad()
def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Writes the derivative of each element's loss by its logit to ``grad_input`` (n, C)."""
    (x,) = widened(input)
    p, q = torch.sigmoid(x), torch.sigmoid(-x)
    hit = -alpha * q**gamma * (q - gamma * p * logsigmoid(x))
    miss = (1 - alpha) * p**gamma * (p - gamma * q * logsigmoid(-x))
    grad_input.copy_(torch.where(_is_target(x, target), hit, miss) * _row_weight(x, target, weight))


def _is_target(x: Tensor, target: Tensor) -> Tensor:
    return target[:, None] == torch.arange(x.shape[1], device=x.device)


def _row_weight(x: Tensor, target: Tensor, weight: Tensor) -> Tensor | float:
    if not weight.numel():
        return 1.0
    padded = torch.cat([weight.detach().to(x), x.new_ones(1)])
    return padded[target.clamp(max=len(weight))][:, None]
