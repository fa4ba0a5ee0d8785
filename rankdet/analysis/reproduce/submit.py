"""Results for the servers that keep the annotations of COCO test-dev and VOC2012 test."""

from __future__ import annotations

import os.path as osp
import re
from pathlib import Path

from mmengine.config import Config

from rankdet.datasets.official import (
    COCO_CATEGORY_IDS,
    COCO_CLASSES,
    COCO_SPLITS,
    VOC_CLASSES,
    VOC_SPLITS,
)
from rankdet.engine.errors import UserError
from rankdet.engine.preflight import leaf_datasets
from rankdet.evaluation.submission import write_coco_submission, write_voc_submission


def pack(cfg: Config, detections: Path, name: str, *, any_images: bool = False) -> Path:
    """Pack the detections of a test for the server of its test set.

    Args:
        cfg: The config of the test, whose data set is the server's.
        detections: What the test has written, in COCO's format.
        name: What the archive is called after.
        any_images: Take images and categories that are not the test set's, as tiny data has them.

    Returns:
        Path: The archive, beside the detections.

    Raises:
        UserError: The config tests on something else, or the test wrote nothing.
        ValueError: The results do not fit the test set.
    """
    (dataset,) = leaf_datasets(cfg.test_dataloader.dataset)
    images = osp.join(dataset.get('data_root') or '', dataset.ann_file)
    if not detections.is_file():
        raise UserError(f'the test wrote no detections to {detections}; were there any?')
    stem = Path(images).stem
    if stem.startswith('image_info_'):
        return write_coco_submission(
            detections,
            images,
            detections.parent,
            algorithm=re.sub(r'[^A-Za-z0-9.-]+', '-', name),
            test_set=stem.removeprefix('image_info_'),
            categories=None if any_images else dict(zip(COCO_CLASSES, COCO_CATEGORY_IDS)),
            num_images=None if any_images else COCO_SPLITS[stem].images,
        ).path
    if Path(images).parent.name == 'VOC2012':
        return write_voc_submission(
            detections,
            images,
            detections.parent / 'results.tar.gz',
            classes=VOC_CLASSES,
            num_images=None if any_images else VOC_SPLITS['VOC2012', 'test'].images,
        ).path
    raise UserError(f'{images} is no test set of a server; the table says that the row is on one')
