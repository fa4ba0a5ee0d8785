"""The measures as metrics that MMDetection's configs name; importing this registers them.

::

    test_evaluator = [
        dict(type='CocoMetric', ann_file=ann_file, metric='bbox'),
        dict(type='LRPMetric', ann_file=ann_file),
    ]

All take the ground truth of ``ann_file``, which is read and checked before the first batch, or,
without it, of the data samples. They collect over all processes and return fractions that are not
rounded: NaN where a value is undefined.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric
from mmengine.fileio import get_local_path
from mmengine.logging import MMLogger

from rankdet.evaluation.average_precision import check_max_dets
from rankdet.evaluation.coco_data import (
    Detections,
    GroundTruth,
    check_detections,
    load_ground_truth,
)
from rankdet.evaluation.lrp import check_tau, olrp
from rankdet.evaluation.matching import COCO_AREA_RANGES, match
from rankdet.evaluation.rank_correlation import correlation_bounds, correlation_report
from rankdet.evaluation.report import evaluate, notes
from rankdet.evaluation.table import format_table
from rankdet.evaluation.voc import voc_ap

__all__ = ['DetectionMetric', 'LRPMetric', 'RankCorrelationMetric', 'VOCAPMetric']


class BoxMetric(BaseMetric):
    """Gathers boxes and ground truth; a subclass measures them.

    Args:
        ann_file: COCO ground truth. None takes the ``instances`` of the data samples, of which
            those with ``ignore_flag`` are crowds: nothing tells VOC's difficult objects from
            them there, so that the overlap with one is the share of the detection, as in
            pycocotools, and no IoU. All images of a file are evaluated, those without
            detections too.
        max_dets: best detections per image and class that take part.
        classwise: also log a table of the classes, and return what its subclass says.
        outfile_prefix: save the detections as ``<prefix>.bbox.json``, for the tools.
        backend_args: of the file backend that fetches ``ann_file``.
        collect_device, prefix: see :class:`mmengine.evaluator.BaseMetric`.
    """

    def __init__(
        self,
        ann_file: str | None = None,
        *,
        max_dets: int = 100,
        classwise: bool = False,
        outfile_prefix: str | None = None,
        backend_args: dict | None = None,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        if max_dets < 1:
            raise ValueError(f'max_dets must be at least 1, got {max_dets!r}')
        self.ann_file = ann_file
        self.max_dets = max_dets
        self.classwise = classwise
        self.outfile_prefix = outfile_prefix
        self.backend_args = backend_args
        self._gt: GroundTruth | None = None

    @property
    def dataset_meta(self) -> dict | None:
        """Of the data set; setting it reads ``ann_file``, so that it fails before inference."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict) -> None:
        self._dataset_meta = dataset_meta
        self._gt = None if self.ann_file is None else self._read_file()

    def measure(self, gt: GroundTruth, dt: Detections) -> dict[str, float]:
        """The values to return, by name; with ``classwise`` it also logs."""
        raise NotImplementedError

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keep the boxes of a batch and, without ``ann_file``, its ground truth."""
        self._class_names()  # an error where they are not known, which is before inference
        for sample in data_samples:
            pred = sample['pred_instances']
            corners = pred['bboxes'].detach().cpu().double().numpy().reshape(-1, 4)
            result = dict(
                image_id=sample['img_id'],
                # As CocoMetric: the size is taken in double precision.
                boxes=np.hstack([corners[:, :2], corners[:, 2:] - corners[:, :2]]),
                scores=pred['scores'].detach().cpu().float().numpy(),
                labels=pred['labels'].detach().cpu().numpy(),
            )
            if self.ann_file is None:
                if 'instances' not in sample:
                    raise ValueError(
                        f"{type(self).__name__} needs ann_file, or 'instances' among the "
                        'meta_keys of PackDetInputs'
                    )
                result['instances'] = sample['instances']
            self.results.append(result)

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Measure what all processes have gathered."""
        logger = MMLogger.get_current_instance()
        gt = self._ground_truth(results)
        dt = self._detections(results, gt)
        if self.outfile_prefix is not None:
            path = _save(dt, gt, Path(f'{self.outfile_prefix}.bbox.json'))
            logger.info(f'{len(dt)} detections saved to {path}')
        for note in notes(gt, dt):
            logger.warning(f'{type(self).__name__}: {note}')
        logger.info(f'{type(self).__name__}: {len(gt)} objects, {len(dt)} detections ...')
        return self.measure(gt, dt)

    def log_classes(self, rows: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        """With ``classwise`` log a table and return what is defined as ``<class>_<name>``."""
        if not self.classwise:
            return {}
        table = format_table(rows, by_row=True)
        MMLogger.get_current_instance().info(f'{type(self).__name__}\n{table}')
        return {
            f'{label}_{name}': value
            for label, values in rows.items()
            for name, value in values.items()
            if not np.isnan(value)
        }

    def _class_names(self) -> tuple[str, ...]:
        classes = (self.dataset_meta or {}).get('classes')
        if classes is None:
            raise ValueError(f'{type(self).__name__} needs the classes of dataset_meta, got none')
        return (classes,) if isinstance(classes, str) else tuple(classes)

    def _ground_truth(self, results: list[dict]) -> GroundTruth:
        if self.ann_file is None:
            return load_ground_truth(_as_coco(results, self._class_names()), allow_empty=True)
        assert self._gt is not None
        return self._gt

    def _read_file(self) -> GroundTruth:
        try:
            with get_local_path(self.ann_file, backend_args=self.backend_args) as path:
                return load_ground_truth(path, classes=self._class_names())
        except FileNotFoundError as error:
            raise FileNotFoundError(f'{type(self).__name__}: ann_file: {error}') from None

    def _detections(self, results: list[dict], gt: GroundTruth) -> Detections:
        image_of = {id: index for index, id in enumerate(gt.image_ids)}
        unknown = [r['image_id'] for r in results if r['image_id'] not in image_of]
        if unknown:
            raise ValueError(
                f'{type(self).__name__}: ann_file {self.ann_file!r} does not have the images '
                f'{unknown[:5]} ({len(unknown)} such) that were tested'
            )
        times = Counter(result['image_id'] for result in results)
        if twice := [id for id, count in times.items() if count > 1]:
            raise ValueError(
                f'{type(self).__name__}: the images {twice[:5]} ({len(twice)} such) were tested '
                'more than once'
            )
        labels = _stack(results, 'labels', (0,), np.int64)
        num_classes = len(gt.class_ids)
        if labels.size and not 0 <= labels.min() <= labels.max() < num_classes:
            raise ValueError(
                f'{type(self).__name__}: labels must be in [0, {num_classes}), '
                f'got {labels.min()} to {labels.max()}'
            )
        images = [image_of[result['image_id']] for result in results]
        dt = Detections(
            image=np.repeat(np.array(images, np.int64), [len(r['labels']) for r in results]),
            label=labels,
            boxes=_stack(results, 'boxes', (0, 4), np.float64),
            scores=_stack(results, 'scores', (0,), np.float64),
        )
        return check_detections(dt, f'{type(self).__name__}: detections')


@METRICS.register_module()
class LRPMetric(BoxMetric):
    """oLRP with its components, see :func:`rankdet.evaluation.optimal_lrp`; lower is better.

    Returns ``oLRP``, ``oLRP_loc``, ``oLRP_fp`` and ``oLRP_fn``, means over the classes that
    have them; with ``classwise`` also ``<class>_oLRP``, ``<class>_oLRP_loc``, ``_oLRP_fp``,
    ``_oLRP_fn`` and ``<class>_threshold``, the LRP-optimal score threshold, as far as the class
    has them: without objects it has none, without true positives oLRP and ``_fn`` alone. To keep
    the best checkpoint by it: ``dict(type='CheckpointHook', save_best='lrp/oLRP', rule='less')``.

    Args:
        ann_file: COCO ground truth; None takes that of the data samples.
        tau: IoU from which on a detection is a true positive, in [0, 1); at 0 a disjoint one is
            one, see :func:`rankdet.evaluation.olrp`.
        kwargs: ``max_dets=100``, ``classwise=False``, ``outfile_prefix``, ``backend_args``,
            ``collect_device``, ``prefix``.
    """

    default_prefix = 'lrp'

    def __init__(self, ann_file: str | None = None, *, tau: float = 0.5, **kwargs: Any) -> None:
        super().__init__(ann_file, **kwargs)
        self.tau = check_tau(tau)

    def measure(self, gt: GroundTruth, dt: Detections) -> dict[str, float]:
        report = olrp(gt, dt, tau=self.tau, max_dets=self.max_dets)
        return report.summary() | self.log_classes(report.by_class())


@METRICS.register_module()
class RankCorrelationMetric(BoxMetric):
    """Rank correlation of scores and IoUs, see :func:`rankdet.evaluation.correlation_report`.

    Returns ``rho`` and, with ``bounds``, ``lower/...`` and ``upper/...``: AP, AP50, AP75 and
    AP90 if localisation ranked inversely or exactly as the scores do (aLRP paper, Table 5).

    Args:
        ann_file: COCO ground truth; None takes that of the data samples.
        bounds: also find the bounds.
        kwargs: as for :class:`LRPMetric`.
    """

    default_prefix = 'rank'

    def __init__(self, ann_file: str | None = None, *, bounds: bool = True, **kwargs: Any) -> None:
        super().__init__(ann_file, **kwargs)
        self.bounds = bounds

    def measure(self, gt: GroundTruth, dt: Detections) -> dict[str, float]:
        sizes = [COCO_AREA_RANGES['all']]
        matching = match(gt, dt, iou_thrs=[0.5], area_ranges=sizes, max_dets=self.max_dets)
        report = correlation_report(matching)
        self.log_classes({n: {'rho': r} for n, r in zip(report.class_names, report.per_class)})
        found = {'rho': report.rho}
        for bound, values in (correlation_bounds(matching) if self.bounds else {}).items():
            found |= {f'{bound}/{name}': v for name, v in values.items() if name != 'rho'}
        return found


@METRICS.register_module()
class DetectionMetric(BoxMetric):
    """Every measure from one matching: COCO's AP, AP90 too, and AR, oLRP, rank correlation.

    Returns what :meth:`rankdet.evaluation.Evaluation.summary` has; with ``classwise`` also
    ``<class>_<name>`` for each name in its ``per_class()``, as far as the class has the value. AP
    equals that of ``CocoMetric`` before rounding, as long as no image has more than ``max_dets``
    detections of a class, and none of the crowds is VOC's ``difficult``: detections overlap these
    by IoU, as in VOC's kit, see :func:`rankdet.evaluation.load_ground_truth`.

    Args:
        ann_file: COCO ground truth; None takes that of the data samples.
        tau: IoU of oLRP, in [0, 1).
        max_dets: numbers of detections per image and class for AR, ascending; the last one is
            what takes part in everything.
        bounds: also find the bounds of the rank correlation.
        kwargs: as for :class:`LRPMetric`.
    """

    default_prefix = 'det'

    def __init__(
        self,
        ann_file: str | None = None,
        *,
        tau: float = 0.5,
        max_dets: Sequence[int] = (1, 10, 100),
        bounds: bool = True,
        **kwargs: Any,
    ) -> None:
        self.all_max_dets = check_max_dets(max_dets)
        super().__init__(ann_file, max_dets=self.all_max_dets[-1], **kwargs)
        self.tau = check_tau(tau)
        self.bounds = bounds

    def measure(self, gt: GroundTruth, dt: Detections) -> dict[str, float]:
        found = evaluate(gt, dt, tau=self.tau, max_dets=self.all_max_dets, bounds=self.bounds)
        return found.summary() | self.log_classes(found.per_class())


@METRICS.register_module()
class VOCAPMetric(BoxMetric):
    """VOC's own AP, 11-point and area, see :func:`rankdet.evaluation.voc_ap`.

    Returns ``VOC_AP50_11point`` and ``VOC_AP50_area``. The ground truth is VOC converted to
    COCO's format, with ``iscrowd`` for difficult objects, as for COCO-style AP on VOC by
    :class:`DetectionMetric`.

    Args:
        ann_file: COCO ground truth; None takes that of the data samples.
        iou_thr: least IoU of a true positive, in (0, 1].
        kwargs: as for :class:`LRPMetric`; ``max_dets`` has no effect.
    """

    default_prefix = 'voc'

    def __init__(self, ann_file: str | None = None, *, iou_thr: float = 0.5, **kwargs: Any) -> None:
        super().__init__(ann_file, **kwargs)
        if not 0 < iou_thr <= 1:
            raise ValueError(f'iou_thr must be in (0, 1], got {iou_thr!r}')
        self.iou_thr = iou_thr

    def measure(self, gt: GroundTruth, dt: Detections) -> dict[str, float]:
        found = voc_ap(gt, dt, iou_thr=self.iou_thr)
        rows = zip(found.class_names, found.eleven_point, found.area)
        self.log_classes({name: {'11point': e, 'area': a} for name, e, a in rows})
        return found.summary()


def _stack(results: list[dict], key: str, empty: tuple[int, ...], dtype: type) -> np.ndarray:
    return np.concatenate([np.zeros(empty, dtype), *(r[key] for r in results)]).astype(dtype)


def _as_coco(results: list[dict], classes: Sequence[str]) -> dict:
    """COCO ground truth of the instances of data samples; class ids are the labels."""
    annotations = []
    for result in results:
        for instance in result['instances']:
            x1, y1, x2, y2 = map(float, instance['bbox'])
            annotations.append(
                dict(
                    image_id=result['image_id'],
                    category_id=int(instance['bbox_label']),
                    bbox=[x1, y1, x2 - x1, y2 - y1],
                    iscrowd=int(instance.get('ignore_flag', 0)),
                )
            )
    return dict(
        images=[dict(id=result['image_id']) for result in results],
        categories=[dict(id=label, name=name) for label, name in enumerate(classes)],
        annotations=annotations,
    )


def _save(dt: Detections, gt: GroundTruth, path: Path) -> Path:
    """Write detections as a COCO result file."""
    rows = zip(dt.image.tolist(), dt.label.tolist(), dt.boxes.tolist(), dt.scores.tolist())
    content = [
        dict(image_id=gt.image_ids[i], category_id=gt.class_ids[k], bbox=box, score=score)
        for i, k, box, score in rows
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding='utf-8')
    return path
