"""The losses as functions of (logits, targets), on torch alone.

Every loss is one file and one public function; each can be used without MMDetection.

On CUDA the AP, AUC, aLRP and DR Losses run as fused Triton kernels where triton is installed, and
as plain torch elsewhere. The environment variable ``RANKDET_KERNELS`` or :class:`use_kernels`
chooses: ``auto`` (the default), ``triton`` (an error where the kernels cannot run) or ``torch``.
"""

from ._backend import kernels_in_use, use_kernels
from .alrp import ALRPLoss, alrp_loss, localisation_error
from .ap import ap_loss
from .approx_ap import approx_ap_loss
from .auc import auc_loss
from .dr import DRLambdas, dr_lambdas, dr_loss
from .error_driven import Ranking, error_driven_loss
from .ohem import ohem_cross_entropy_loss
from .structured_hinge import structured_hinge_ap_loss

__all__ = [
    'ALRPLoss',
    'DRLambdas',
    'Ranking',
    'alrp_loss',
    'ap_loss',
    'approx_ap_loss',
    'auc_loss',
    'dr_lambdas',
    'dr_loss',
    'error_driven_loss',
    'kernels_in_use',
    'localisation_error',
    'ohem_cross_entropy_loss',
    'structured_hinge_ap_loss',
    'use_kernels',
]
