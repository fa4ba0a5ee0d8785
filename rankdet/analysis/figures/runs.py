"""The trainings that the figures are about: their folders, configs, checkpoints and logs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from mmdet.registry import MODELS
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from rankdet.analysis.curves import read_scalars
from rankdet.analysis.figures.labels import hook_type, labels_of
from rankdet.analysis.starts import read_logs
from rankdet.engine.checkpoints import latest_checkpoint
from rankdet.engine.errors import UserError
from rankdet.engine.launch import load_config, model_config
from rankdet.engine.preflight import check_checkpoint, check_data, dataset_classes, leaf_datasets
from rankdet.engine.recorder import RECORDS
from rankdet.engine.weights_only import load_weights

if TYPE_CHECKING:
    from mmdet.models import BaseDetector

#: What each record of LossRecorder has.
RECORDED = ('step', 'positives', 'negatives', 'loss_cls')
_names = count()


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        folder: where it lies.
        label: what a figure calls it; runs of one label are averaged.
        config_file: None if there is none beside the checkpoint.
        checkpoint_file: None for the newest one of the folder.
    """

    folder: Path
    label: str
    config_file: Path | None = None
    checkpoint_file: Path | None = None

    @property
    def config(self) -> Config:
        """Read anew, so that it may be changed.

        Raises:
            UserError: there is no config for this run.
        """
        if self.config_file is None:
            raise UserError(
                f'{self.checkpoint_file or self.folder} has no config (*.py) beside it; say which '
                'config it was trained with: --config FILE'
            )
        cfg = load_config(str(self.config_file))
        return _renamed(cfg)

    @property
    def checkpoint(self) -> Path:
        """The checkpoint asked for, or the newest complete one.

        Raises:
            UserError: there is none.
        """
        found = self.checkpoint_file or latest_checkpoint(self.folder)
        if found is None:
            raise UserError(f'{self.folder} holds no checkpoint (epoch_N.pth or iter_N.pth)')
        return found

    def log(self) -> list[dict]:
        """What MMEngine logged, see :func:`rankdet.analysis.curves.read_scalars`.

        Raises:
            UserError: it logged nothing, or a line is no record.
        """
        records = read_scalars(self.folder)
        if not records:
            raise UserError(
                f'{self.folder} holds no log (<timestamp>/vis_data/scalars.json): it is no folder '
                'of a training, or the log was not copied with it'
            )
        return records

    def records(self) -> list[dict]:
        """What :class:`rankdet.engine.recorder.LossRecorder` recorded; the later of a step counts.

        Of the last training of the folder, see :func:`rankdet.analysis.starts.read_logs`.

        Raises:
            UserError: it recorded nothing, or a line is no record.
        """
        found: dict[int, dict] = {}
        for _, records in read_logs(self.folder, RECORDS, RECORDED):
            found |= {record['step']: record for record in records}
        if not found:
            raise UserError(
                f'{self.folder} holds no {RECORDS}: train with the recorder, '
                '--cfg-options default_hooks.recorder.type=LossRecorder'
            )
        return [found[step] for step in sorted(found)]


def open_runs(
    paths: Sequence[str | Path],
    *,
    config: str | Path | None = None,
    labels: Sequence[str] | None = None,
) -> list[Run]:
    """Look at folders of trainings, or single checkpoints in them.

    Args:
        paths: folders or ``.pth`` files.
        config: of all of them; None takes the only config in each folder.
        labels: one a path; None makes them of the losses, and of what else differs but the seed.

    Raises:
        UserError: a path does not exist, or a folder holds several configs.
    """
    if labels is not None and len(labels) != len(paths):
        raise UserError(f'there are {len(paths)} runs but {len(labels)} labels; give one a run')
    found = []
    for path in map(Path, paths):
        if not path.exists():
            raise UserError(f'run {path} does not exist; give folders of trainings, or checkpoints')
        folder, checkpoint = (path, None) if path.is_dir() else (path.parent, path)
        found.append(Run(folder, '', _config_in(folder, config), checkpoint))
    labels = labels or labels_of(found)
    return [Run(r.folder, name, r.config_file, r.checkpoint_file) for r, name in zip(found, labels)]


def _renamed(cfg: Config) -> Config:
    """MMEngine keeps loggers and visualizers by name, for the whole process."""
    cfg.experiment_name = f'analysis-{next(_names)}'
    cfg.setdefault('visualizer', ConfigDict(type='Visualizer')).name = cfg.experiment_name
    return cfg


def _config_in(folder: Path, config: str | Path | None) -> Path | None:
    if config is not None:
        return Path(config)
    configs = sorted(folder.glob('*.py'))
    if len(configs) > 1:
        names = ', '.join(path.name for path in configs[:4])
        raise UserError(
            f'{folder} holds {len(configs)} configs ({names}); say which: --config FILE'
        )
    return configs[0] if configs else None


def by_label(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """Runs of the same label together, in the order of their first one."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.label, []).append(run)
    return groups


def load_model(run: Run, device: str | None = None) -> BaseDetector:
    """The trained detector, ready to be asked.

    Raises:
        UserError: the config's data are not there, or the checkpoint does not fit the config.
    """
    cfg = run.config
    mode = evaluated(cfg)
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    check_data(cfg, (mode,))
    settings = model_config(cfg)
    for part in (settings, settings.get('backbone') or {}):
        part.pop('init_cfg', None)  # weights come from the checkpoint
    model = MODELS.build(settings)
    dataset = next(leaf_datasets(cfg[f'{mode}_dataloader'].dataset))
    check_checkpoint(model, str(run.checkpoint), dataset_classes(dataset))
    load_weights(model, run.checkpoint)
    device = device or ('cuda:0' if torch.cuda.is_available() else 'cpu')
    return model.to(device).eval()


def training_batch(run: Run, size: int | None = None) -> dict:
    """The first images that a run was trained on, by default as many as it takes at a time.

    Raises:
        UserError: its training data are not there.
    """
    cfg = run.config
    check_data(cfg, ('train',))
    loader = deepcopy(cfg.train_dataloader)
    loader.update(num_workers=0, persistent_workers=False)
    if size is not None:
        loader.update(batch_size=size, batch_sampler=None)
    return next(iter(Runner.build_dataloader(loader, seed=0)))


def evaluated(cfg: Config) -> str:
    """The loader of the images to analyse: 'val' or, where there is none, 'test'."""
    return 'val' if cfg.get('val_dataloader') else 'test'


def annotation_file(cfg: Config) -> Path:
    """The COCO file of the images to analyse.

    Raises:
        UserError: the data set is not in COCO's format.
    """
    dataset = next(leaf_datasets(cfg[f'{evaluated(cfg)}_dataloader'].dataset))
    path = Path(dataset.get('data_root') or '', dataset.get('ann_file') or '')
    if path.suffix != '.json':
        raise UserError(f'{dataset.type}: {path} is not in COCO format (.json), which this needs')
    return path


def image_folder(cfg: Config) -> Path:
    """Where the images of :func:`annotation_file` lie."""
    dataset = next(leaf_datasets(cfg[f'{evaluated(cfg)}_dataloader'].dataset))
    prefix = (dataset.get('data_prefix') or {}).get('img') or ''
    return Path(dataset.get('data_root') or '', prefix)


def plain_training(
    cfg: Config, folder: Path, iterations: int, seed: int, lr: float | None = None
) -> Config:
    """A config that trains for some iterations and does nothing else.

    The learning rate rises over the first tenth and stays; a checkpoint is left at the end. Hooks
    of the config's own go, and a recorder that a training was given on the command line.
    """
    cfg.work_dir = str(folder)
    _renamed(cfg)
    cfg.randomness = dict(seed=seed)
    for key in ('val_dataloader', 'val_cfg', 'val_evaluator'):
        cfg[key] = None
    cfg.train_cfg = ConfigDict(type='IterBasedTrainLoop', max_iters=iterations)
    cfg.train_dataloader.update(num_workers=0, persistent_workers=False)
    warm = max(1, iterations // 10)
    cfg.param_scheduler = [
        ConfigDict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=warm)
    ]
    if lr is not None:
        cfg.optim_wrapper.optimizer.lr = lr
    cfg.custom_hooks = []
    for name, hook in list(cfg.default_hooks.items()):
        if hook and hook_type(hook) == 'LossRecorder':
            del cfg.default_hooks[name]
    cfg.log_processor = ConfigDict(by_epoch=False)
    cfg.default_hooks.checkpoint = ConfigDict(
        type='CheckpointHook', by_epoch=False, interval=iterations, save_optimizer=False
    )
    return cfg


def checkpoint_at(folder: Path, iterations: int) -> Path:
    """What :func:`plain_training` leaves."""
    return folder / f'iter_{iterations}.pth'
