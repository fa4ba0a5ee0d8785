"""Losses that MMDetection builds from a config."""

from .alrp_loss import aLRPLoss
from .ap_loss import APLoss
from .approx_ap_loss import ApproxAPLoss
from .auc_loss import AUCLoss
from .base import RankingLoss
from .dr_loss import DRLoss
from .ohem_loss import OHEMCrossEntropyLoss
from .scoped import ScopedRankingLoss
from .structured_hinge_loss import StructuredHingeAPLoss

__all__ = [
    'APLoss',
    'AUCLoss',
    'ApproxAPLoss',
    'DRLoss',
    'OHEMCrossEntropyLoss',
    'RankingLoss',
    'ScopedRankingLoss',
    'StructuredHingeAPLoss',
    'aLRPLoss',
]
