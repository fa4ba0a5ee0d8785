"""Testing at several scales, through the very function that tools/test.py --tta calls."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.structures import InstanceData

from rankdet.datasets.tiny import make_tiny_voc
from rankdet.engine import launch

BASES = Path(__file__).parents[2] / 'configs' / '_base_'
SCALES = {
    'multi-scale_dr': (range(400, 1201, 100), (False,)),
    'multi-scale_ap-500': (range(300, 701, 100), (True, False)),
    'multi-scale_alrp-800': (range(600, 1001, 100), (True, False)),
}


@MODELS.register_module()
class Oracle(BaseModel):
    """Detects what is annotated, in the view it is shown, and remembers the views."""

    seen: list

    def __init__(self, data_preprocessor):
        super().__init__(data_preprocessor)
        self.weight = torch.nn.Parameter(torch.zeros(1))
        Oracle.seen = []

    def forward(self, inputs, data_samples=None, mode='predict'):
        for sample in data_samples:
            boxes = sample.gt_instances.bboxes.clone()
            width = sample.ori_shape[1]
            if sample.flip:
                boxes[:, [0, 2]] = width - boxes[:, [2, 0]]
            scores = torch.full((len(boxes),), 0.9)
            sample.pred_instances = InstanceData(
                bboxes=boxes, scores=scores, labels=sample.gt_instances.labels
            )
            self.seen.append((sample.img_id, sample.img_shape, sample.flip))
        return data_samples


@pytest.mark.parametrize('name', sorted(SCALES))
def test_views_and_their_merging(name, tmp_path, monkeypatch):
    monkeypatch.setenv('VOC_ROOT', str(make_tiny_voc(tmp_path / 'VOCdevkit', images=4)))
    config = tmp_path / 'config.py'
    config.write_text(
        f'_base_ = {[str(BASES / f) for f in bases(name)]!r}\n'
        "model = dict(type='Oracle', data_preprocessor=_base_.data_preprocessor)\n"
        'test_dataloader = dict(num_workers=0, persistent_workers=False)\n'
        'train_dataloader = val_dataloader = val_evaluator = None\n'
        "test_cfg = dict(type='TestLoop')\n"
    )
    checkpoint = tmp_path / 'oracle.pth'
    torch.save(dict(state_dict={'weight': torch.zeros(1)}, meta={}), checkpoint)
    cfg = launch.load_config(str(config), work_dir=str(tmp_path / 'work'))
    found = launch.test(cfg, str(checkpoint), tta=True)
    for key in ('coco/bbox_mAP', 'det/AP', 'voc/VOC_AP50_area'):
        assert found[key] == pytest.approx(1), key
    shorts, flips = SCALES[name]
    views = [(shape, flip) for id, shape, flip in Oracle.seen if id == Oracle.seen[0][0]]
    assert len(Oracle.seen) == 4 * len(views)
    assert {flip for _, flip in views} == set(flips)
    # 96 x 144 or 128 x 96: the 5/3 does not bind
    assert sorted(min(shape) for shape, _ in views) == sorted(np.repeat(shorts, len(flips)))


def bases(name):
    return (
        'datasets/voc07_ssd-512_test-500_caffe.py',
        f'testing/{name}.py',
        'testing/detections.py',
        'default_runtime.py',
    )


@pytest.mark.parametrize('name', sorted(SCALES))
def test_longest_side(name):
    resizes = Config.fromfile(BASES / 'testing' / f'{name}.py').tta_pipeline[1].transforms[0]
    assert [scale.scale[1] for scale in resizes] == list(SCALES[name][0])
    for long, short in (resize.scale for resize in resizes):
        assert abs(long / short - 5 / 3) < 0.002
