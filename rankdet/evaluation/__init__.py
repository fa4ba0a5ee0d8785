"""Measures of detection as the papers report them: COCO's AP, oLRP, rank correlation, VOC's AP.

Everything here is plain numpy on files in COCO's format. The metrics that MMDetection's configs
name are registered by :mod:`rankdet.evaluation.metrics`, which is not imported here.
"""

from rankdet.evaluation.average_precision import CocoAP, coco_ap
from rankdet.evaluation.coco_data import (
    Detections,
    GroundTruth,
    load_detections,
    load_ground_truth,
)
from rankdet.evaluation.lrp import LRPReport, OptimalLRP, lrp_report, olrp, optimal_lrp
from rankdet.evaluation.matching import Matching, match
from rankdet.evaluation.rank_correlation import (
    CorrelationReport,
    correlation_bounds,
    correlation_report,
    rank_correlation,
)
from rankdet.evaluation.report import Evaluation, evaluate, sweep_score_thresholds

__all__ = [
    'CocoAP',
    'CorrelationReport',
    'Detections',
    'Evaluation',
    'GroundTruth',
    'LRPReport',
    'Matching',
    'OptimalLRP',
    'coco_ap',
    'correlation_bounds',
    'correlation_report',
    'evaluate',
    'load_detections',
    'load_ground_truth',
    'lrp_report',
    'match',
    'olrp',
    'optimal_lrp',
    'rank_correlation',
    'sweep_score_thresholds',
]
