"""One rule for 16-bit tensors: torchvision computes them in float32."""

import torch
from torch import Tensor


def widened(*tensors: Tensor) -> list[Tensor]:
    """Detached tensors in one common dtype, float32 at least.

    mmcv's bindings refuse bfloat16 and accumulate float16 in float16; some of torchvision's
    kernels refuse both. Results are rounded once, when they are written to the caller's tensor.
    """
    dtype = torch.float32
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return [tensor.detach().to(dtype) for tensor in tensors]
