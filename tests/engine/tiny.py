"""A data set, a config and runs of seconds for the tests of engine and tools. Not a test itself."""

from __future__ import annotations

import itertools
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

import rankdet.plugin  # noqa: F401
from rankdet.datasets.digits import make_digits
from rankdet.engine import launch

CONFIG = Path(__file__).with_name('tiny_config.py')
FASTER_RCNN = Path(__file__).with_name('tiny_faster_rcnn.py')
TRAIN, VAL, SIZE = 6, 3, 96
# Both stages of the tiny Faster R-CNN draw the anchors and proposals that they train on.
_SAMPLER = dict(
    _delete_=True, type='RandomSampler', num=24, pos_fraction=0.5, neg_pos_ub=-1,
    add_gt_as_proposals=False,
)  # fmt: skip
RANDOM_SAMPLING = dict(
    model__train_cfg__rpn__sampler=_SAMPLER,
    model__train_cfg__rcnn__sampler=_SAMPLER | dict(add_gt_as_proposals=True),
)
_names = itertools.count()


@pytest.fixture(scope='session')
def digits(tmp_path_factory) -> Path:
    """Digit scenes: six to train, three to test."""
    out = tmp_path_factory.getbasetemp() / 'digits'
    return make_digits(out, num_train=TRAIN, num_val=VAL, size=SIZE)


def at(data: Path) -> dict:
    """Overrides that point the tiny config at a copy of the data."""
    root, truth = f'{data}/', str(data / 'annotations/instances_val.json')
    return {
        'train_dataloader.dataset.dataset.data_root': root,
        'val_dataloader.dataset.data_root': root,
        'test_dataloader.dataset.data_root': root,
        'val_evaluator.ann_file': truth,
        'test_evaluator.ann_file': truth,
    }


def load(data: Path, work_dir: Path, config: Path = CONFIG, **overrides) -> Config:
    """A tiny config on this data; dots of a key are written as double underscores."""
    # A copy: merging takes _delete_ out of what it is given.
    options = {key.replace('__', '.'): value for key, value in deepcopy(overrides).items()}
    # MMEngine keeps loggers and visualizers by name, and a time stamp is unique by second only.
    name = f'tiny-{next(_names)}'
    options |= {'experiment_name': name, 'visualizer.name': name}
    return launch.load_config(str(config), work_dir=str(work_dir), cfg_options=at(data) | options)


def write(path: Path, data: Path, **overrides) -> Path:
    """A tiny config on this data as a file of its own."""
    cfg = load(data, path.parent / 'run', **overrides)
    for name in ('launcher', 'work_dir'):
        cfg.pop(name)
    cfg.dump(path)
    return path


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    return torch.load(checkpoint, map_location='cpu', weights_only=False)['state_dict']


def train(cfg: Config, **options) -> Path:
    """Train, and return the folder of the run."""
    runner = launch.train(cfg, **options)
    for loop in (runner.train_loop, runner.val_loop):
        # Workers that only the garbage collector stops make it wait for seconds.
        loop.dataloader._iterator = loop.dataloader_iterator = None
    return Path(runner.work_dir)
