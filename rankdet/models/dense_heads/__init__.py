"""Dense heads of MMDetection that may rank."""

from .retina_head import RankRetinaHead

__all__ = ['RankRetinaHead']
