"""What a checkpoint detects on the images that its config evaluates."""

from __future__ import annotations

import tempfile
from pathlib import Path

from mmdet.registry import DATASETS
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope

from rankdet.analysis.figures.runs import Run, annotation_file, evaluated
from rankdet.engine.launch import test
from rankdet.engine.preflight import check_data, dataset_classes, leaf_datasets
from rankdet.evaluation import Detections, GroundTruth, load_detections, load_ground_truth


def predict(run: Run, checkpoint: Path | None = None) -> tuple[GroundTruth, Detections]:
    """Test a checkpoint, by default the newest one of a run.

    Raises:
        UserError: config, data and checkpoint do not fit.
        ValueError: the data set has no boxes.
    """
    cfg = run.config
    mode = evaluated(cfg)
    truth = annotation_file(cfg)
    classes = dataset_classes(next(leaf_datasets(cfg[f'{mode}_dataloader'].dataset)))
    objects = load_ground_truth(truth, classes=classes)
    cfg.test_dataloader = cfg[f'{mode}_dataloader']
    cfg.test_dataloader.num_workers = 0
    cfg.test_dataloader.persistent_workers = False
    check_data(cfg, ('test',))
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    images = DATASETS.build(cfg.test_dataloader.dataset)  # of a part, as by `indices`, only these
    objects = objects.on_images({images.get_data_info(n)['img_id'] for n in range(len(images))})
    if not len(objects):
        raise ValueError(f'{truth} has no annotations of the {len(images)} images that are tested')
    cfg.test_cfg = ConfigDict(type='TestLoop')
    cfg.log_level = 'ERROR'
    with tempfile.TemporaryDirectory() as folder:
        cfg.work_dir = folder
        cfg.test_evaluator = ConfigDict(
            type='DetectionMetric', ann_file=str(truth), outfile_prefix=f'{folder}/found',
            bounds=False,
        )  # fmt: skip
        test(cfg, str(checkpoint or run.checkpoint))
        return objects, load_detections(f'{folder}/found.bbox.json', objects)
