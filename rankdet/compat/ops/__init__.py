"""Stand-ins for the functions of ``mmcv._ext`` that box detectors call.

Names, arguments and results written into given tensors are those of mmcv's bindings, so that
``mmcv.ops`` runs unchanged. Imports torchvision, hence is imported only when it is needed.
"""

from rankdet.compat.ops.build_info import get_compiler_version, get_compiling_cuda_version
from rankdet.compat.ops.deform_conv import (
    deform_conv_backward_input,
    deform_conv_backward_parameters,
    deform_conv_forward,
    modulated_deform_conv_backward,
    modulated_deform_conv_forward,
)
from rankdet.compat.ops.focal_loss import sigmoid_focal_loss_backward, sigmoid_focal_loss_forward
from rankdet.compat.ops.nms import nms, softnms
from rankdet.compat.ops.roi_align import roi_align_backward, roi_align_forward

__all__ = [
    'deform_conv_backward_input',
    'deform_conv_backward_parameters',
    'deform_conv_forward',
    'get_compiler_version',
    'get_compiling_cuda_version',
    'modulated_deform_conv_backward',
    'modulated_deform_conv_forward',
    'nms',
    'roi_align_backward',
    'roi_align_forward',
    'sigmoid_focal_loss_backward',
    'sigmoid_focal_loss_forward',
    'softnms',
]
