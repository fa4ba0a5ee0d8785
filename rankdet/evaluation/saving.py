"""Letting a test save its detections, for the tools that measure and pack saved results."""

from __future__ import annotations

import os
from pathlib import Path

from mmdet.evaluation import CocoMetric
from mmdet.registry import METRICS
from mmengine.config import Config

from rankdet.evaluation.metrics import BoxMetric


def save_detections(cfg: Config, prefix: str | os.PathLike) -> Path:
    """Let the test of a config save its detections in COCO's format.

    Sets ``outfile_prefix`` of one of the test's evaluators: ``CocoMetric``, or a metric of
    :mod:`rankdet.evaluation.metrics`.

    Args:
        cfg: a whole config.
        prefix: path of the file without its ending ``.bbox.json``.

    Returns:
        Path: the file that will be written.

    Raises:
        ValueError: no evaluator of the test can save detections, or the prefix names a folder
            or a file of another kind.
    """
    prefix = os.fspath(prefix).removesuffix('.bbox.json')
    if not Path(prefix).name or Path(prefix).is_dir() or prefix.endswith(('.json', '.pkl', '/')):
        raise ValueError(
            f'results are saved as PREFIX.bbox.json, so that the prefix must be a name such as '
            f'work_dirs/dr, got {prefix!r}'
        )
    evaluators = cfg.get('test_evaluator') or []
    evaluators = evaluators if isinstance(evaluators, (list, tuple)) else [evaluators]
    able = [evaluator for evaluator in evaluators if _saves(evaluator['type'])]
    if not able:
        found = ', '.join(str(evaluator['type']) for evaluator in evaluators) or 'there is none'
        raise ValueError(
            'results are saved by CocoMetric, DetectionMetric, LRPMetric, RankCorrelationMetric or '
            f'VOCAPMetric; test_evaluator of {cfg.filename} is none of them: {found}'
        )
    able[0].outfile_prefix = prefix
    return Path(f'{prefix}.bbox.json')


def _saves(kind: str | type) -> bool:
    kind = METRICS.get(kind) if isinstance(kind, str) else kind
    return isinstance(kind, type) and issubclass(kind, (CocoMetric, BoxMetric))
