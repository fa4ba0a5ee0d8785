"""Losses that MMDetection builds from a config."""

from .ap_loss import APLoss
from .approx_ap_loss import ApproxAPLoss
from .base import RankingLoss
from .dr_loss import DRLoss
from .ohem_loss import OHEMCrossEntropyLoss
from .scoped import ScopedRankingLoss
from .structured_hinge_loss import StructuredHingeAPLoss

__all__ = [
    'APLoss',
    'ApproxAPLoss',
    'DRLoss',
    'OHEMCrossEntropyLoss',
    'RankingLoss',
    'ScopedRankingLoss',
    'StructuredHingeAPLoss',
]
