"""RoIAlign by average pooling, forward and backward, from torchvision's kernels."""

import torch
import torchvision  # noqa: F401  registers torch.ops.torchvision
from torch import Tensor

from rankdet.compat.finder import missing_op
from rankdet.compat.ops.precision import widened

AVERAGE = 1


@torch.no_grad()
def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Pools ``input`` (N, C, H, W) at ``rois`` (n, 5), rows (image, x1, y1, x2, y2), into
    ``output`` (n, C, aligned_height, aligned_width)."""
    _require_average(pool_mode)
    input, rois = widened(input, rois)
    output.copy_(
        torch.ops.torchvision.roi_align(
            input, rois, spatial_scale, aligned_height, aligned_width, sampling_ratio, aligned
        )
    )


@torch.no_grad()
def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Adds the gradient with respect to the input to ``grad_input`` (N, C, H, W)."""
    _require_average(pool_mode)
    grad_output, rois = widened(grad_output, rois)
    grad_input.add_(
        torch.ops.torchvision._roi_align_backward(
            grad_output,
            rois,
            spatial_scale,
            aligned_height,
            aligned_width,
            *grad_input.shape,
            sampling_ratio,
            aligned,
        )
    )


def _require_average(pool_mode: int) -> None:
    if pool_mode != AVERAGE:
        raise missing_op("op 'roi_align' with pool_mode='max'")
