"""Dense heads of MMDetection that may rank."""

from .fovea_head import RankFoveaHead
from .retina_head import RankRetinaHead
from .rpn_head import RankRPNHead
from .ssd_head import RankSSDHead

__all__ = ['RankFoveaHead', 'RankRPNHead', 'RankRetinaHead', 'RankSSDHead']
