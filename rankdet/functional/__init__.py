"""The losses as functions of (logits, targets), on torch alone.

Every loss is one file and one public function; each can be used without MMDetection.
"""

from .ap import ap_loss
from .approx_ap import approx_ap_loss
from .dr import DRLambdas, dr_lambdas, dr_loss
from .ohem import ohem_cross_entropy_loss
from .structured_hinge import structured_hinge_ap_loss

__all__ = [
    'DRLambdas',
    'ap_loss',
    'approx_ap_loss',
    'dr_lambdas',
    'dr_loss',
    'ohem_cross_entropy_loss',
    'structured_hinge_ap_loss',
]
