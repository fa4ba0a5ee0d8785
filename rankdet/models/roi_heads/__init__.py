"""RoI heads of MMDetection that may rank."""

from .bbox_head import RankShared2FCBBoxHead

__all__ = ['RankShared2FCBBoxHead']
