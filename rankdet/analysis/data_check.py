"""Checking all data sets of a config before hours of training."""

from __future__ import annotations

import os
import os.path as osp
from pathlib import Path

from mmengine.config import Config, ConfigDict

from rankdet.datasets.check_coco import check_coco_file
from rankdet.datasets.check_report import CheckReport, Options, Progress
from rankdet.datasets.check_voc import check_voc_split
from rankdet.datasets.voc import VOC_CLASSES
from rankdet.engine.preflight import dataset_classes, leaf_datasets


def check_config(
    path: str | os.PathLike,
    *,
    decode: bool = False,
    subset: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> CheckReport:
    """Check the data sets of a config's training, validation and test loaders.

    What only testing needs is reported as a warning: training does not stop at it.

    Args:
        path: The config file.
        decode: Decode every image, to find those with damaged pixels; otherwise their headers are
            read.
        subset: The data may have fewer images than the official sets, which is an error otherwise.
        workers: Threads that open images; None lets Python choose.
        progress: Called as ``progress(stage, done, total)``.

    Returns:
        CheckReport: ``ok`` says whether one can train.

    Raises:
        ValueError: If no loader of the config has a data set.
    """
    cfg = Config.fromfile(path)
    options = Options(decode, workers, progress or Options.progress, subset)
    report, seen = CheckReport(), set()
    for mode in ('train', 'val', 'test'):
        loader = cfg.get(f'{mode}_dataloader') or ConfigDict()
        part = CheckReport()
        for dataset in leaf_datasets(loader.dataset) if 'dataset' in loader else ():
            place = (str(dataset.get('data_root')), str(dataset.get('ann_file')))
            if place not in seen:
                seen.add(place)
                _check_dataset(part, dataset, mode == 'train', options)
        part.problems = [p._replace(stops=p.stops and mode != 'test') for p in part.problems]
        report.add(part)
    if not seen:
        raise ValueError(f'{path} has no data set in train_dataloader, val_ or test_dataloader')
    return report


def _check_dataset(
    report: CheckReport, dataset: ConfigDict, training: bool, options: Options
) -> None:
    root = dataset.get('data_root') or ''
    ann_file = osp.join(root, dataset.get('ann_file') or '')
    prefix = dataset.get('data_prefix') or {}
    if '://' in ann_file:
        report.warn(ann_file, 'is not on this machine, so it was not checked')
    elif 'sub_data_root' in prefix and ann_file.endswith('.txt'):
        year = Path(osp.normpath(osp.join(root, prefix['sub_data_root'])))
        split, classes = Path(ann_file).stem, dataset_classes(dataset) or VOC_CLASSES
        check_voc_split(report, year, split, classes=classes, options=options)
    elif ann_file.endswith('.json'):
        check_coco_file(
            report,
            Path(ann_file),
            Path(osp.join(root, prefix.get('img') or '')),
            classes=dataset_classes(dataset),
            annotated=True if training else None,
            options=options,
        )
    else:
        report.warn(ann_file or dataset.type, f'{dataset.type} cannot be checked here')
