"""The papers' losses as functions of tensors. Needs torch alone."""

from .approx_ap import approx_ap_loss
from .dr import DRLambdas, dr_lambdas, dr_loss
from .ohem import ohem_cross_entropy_loss
from .structured_hinge import structured_hinge_ap_loss

__all__ = [
    'DRLambdas',
    'approx_ap_loss',
    'dr_lambdas',
    'dr_loss',
    'ohem_cross_entropy_loss',
    'structured_hinge_ap_loss',
]
