"""Trainings that are done once: each has a folder named by all that its outcome depends on."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

from mmengine.config import Config

from rankdet.analysis.figures.runs import checkpoint_at
from rankdet.engine.launch import train
from rankdet.engine.preflight import leaf_datasets

#: Where a training is written and what it is called, which change nothing in it.
_NAMES = ('work_dir', 'experiment_name', 'visualizer', 'vis_backends', 'load_from')


def train_once(cfg: Config, name: str, report: Callable[[str], None]) -> Path:
    """Train by a config of :func:`.runs.plain_training`, unless just this was trained before.

    Args:
        cfg: its work_dir is the folder for the training's own folder.
        name: of that folder, in front of the digest.
        report: called with a line when it is trained.

    Returns:
        The folder, which holds the records of this training alone.
    """
    folder = Path(cfg.work_dir, f'{name}-{training_digest(cfg)[:12]}')
    if not checkpoint_at(folder, cfg.train_cfg.max_iters).exists():
        if folder.exists():  # what was left by one that did not come to its end
            shutil.rmtree(folder)
        cfg.work_dir = str(folder)
        train(cfg)
        report(f'trained {folder.name}')
    return folder


def training_digest(cfg: Config) -> str:
    """Of model, data, schedule, seed, and of the files that the training begins with or reads."""
    what = {key: value for key, value in cfg.to_dict().items() if key not in _NAMES}
    # Of other networks the weights count, not the place.
    what['custom_hooks'] = [
        {key: _content(value) if key in ('config', 'checkpoint') else value for key, value in
         hook.items()}
        for hook in what.get('custom_hooks') or ()
    ]  # fmt: skip
    what['load_from'] = _content(cfg.get('load_from'))
    what['annotations'] = [
        _content(Path(dataset.get('data_root') or '', dataset.get('ann_file') or ''))
        for dataset in leaf_datasets(cfg.train_dataloader.dataset)
    ]
    text = json.dumps(what, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _content(path: str | Path | None) -> str | None:
    if path is None or not Path(path).is_file():
        return None if path is None else str(path)
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
