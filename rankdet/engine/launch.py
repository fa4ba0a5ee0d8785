"""Training and testing from a config: what tools/train.py and tools/test.py call."""

from __future__ import annotations

import argparse
import logging
import os
import os.path as osp
from copy import deepcopy
from pathlib import Path

import torch
from mmengine.config import Config, ConfigDict, DictAction
from mmengine.dist import init_dist
from mmengine.runner import Runner

from .annotations import checked_annotations
from .checkpoints import checkpoint_to_resume
from .errors import UserError
from .evaluation_notice import EvaluationNotice
from .interruption import Interruption
from .preflight import (
    check_checkpoint,
    check_data,
    dataset_classes,
    leaf_datasets,
    naming_empty_images,
    read_checkpoint,
)
from .pretrained import prepare_backbones
from .resumed_state import ResumedState, name_what_does_not_fit
from .run_record import record_start
from .seeded_iterations import SeededIterations
from .self_balance import warn_without_hook
from .weights_only import only_weights
from .whole_files import save_whole_checkpoints
from .work_dir import NewWorkDir

WORK_DIRS = 'work_dirs'


def load_config(
    path: str,
    *,
    work_dir: str | None = None,
    cfg_options: dict | list[str] | None = None,
    launcher: str = 'none',
) -> Config:
    """Read a config, apply overrides and decide where the run lives.

    Args:
        path: config file.
        work_dir: folder of the run; default: the config's own, else ``work_dirs/<config name>``.
        cfg_options: overrides, ``{'a.b': value}`` or ``['a.b=value']``.
        launcher: 'none', 'pytorch', 'slurm' or 'mpi'.

    Raises:
        UserError: the file does not exist or cannot be read, or an override does not fit it.
    """
    if not osp.isfile(path):
        raise UserError(f'config {path} does not exist')
    try:
        cfg = Config.fromfile(path)
    except Exception as error:  # a config is code: anything may go wrong in it
        reason = str(error).partition(', the current sys.path')[0]
        raise UserError(f'config {path}: {type(error).__name__}: {reason}') from error
    cfg.launcher = launcher
    if cfg_options:
        try:
            cfg.merge_from_dict(_as_options(cfg_options))
        except (KeyError, TypeError, IndexError, AssertionError) as error:
            raise UserError(f'--cfg-options does not fit {path}: {error}') from error
    if work_dir:
        cfg.work_dir = work_dir
    elif not cfg.get('work_dir'):
        cfg.work_dir = osp.join(WORK_DIRS, Path(path).stem)
    _run_without_gpu(cfg)
    return cfg


def model_config(cfg: Config) -> ConfigDict:
    """A copy of the config of the model, to be built alone.

    As in MMEngine's Runner, ``data_preprocessor`` of the config is that of a model without one.
    """
    model = deepcopy(cfg.model)
    if cfg.get('data_preprocessor'):
        model.setdefault('data_preprocessor', deepcopy(cfg.data_preprocessor))
    return model


def train(
    cfg: Config,
    *,
    amp: bool = False,
    auto_scale_lr: bool = False,
    resume: str | None = None,
    go_on: str | None = None,
) -> Runner:
    """Train as a config says.

    Args:
        cfg: from :func:`load_config`.
        amp: automatic mixed precision (needs a GPU).
        auto_scale_lr: scale the learning rate from ``auto_scale_lr.base_batch_size`` to the
            batch in use.
        resume: 'auto' continues from the newest complete checkpoint of the work directory, or
            starts anew where there is none; a path continues from that file.
        go_on: what errors say of how the run goes on, where that is not the option ``--resume``.

    Returns:
        The runner, with the trained model.

    Raises:
        UserError: what is asked for is not possible, found before anything is written.
    """
    if amp:
        if not torch.cuda.is_available():
            raise UserError('--amp needs a GPU; on a CPU leave it out')
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.loss_scale = 'dynamic'
    if auto_scale_lr:
        if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
            raise UserError(
                '--auto-scale-lr needs auto_scale_lr = dict(base_batch_size=...) in the config: '
                'the batch (GPUs x images per GPU) that its learning rate is meant for'
            )
        cfg.auto_scale_lr.enable = True
    check_data(cfg, ('train', 'val'))
    prepare_backbones(cfg)
    if resume:
        checkpoint = checkpoint_to_resume(cfg, resume)
        cfg.resume = checkpoint is not None
        if checkpoint:
            cfg.load_from = str(checkpoint)
    if cfg.get('resume') and cfg.get('load_from'):
        _keep_seed(cfg)
    _own_visualizer(cfg)
    with (
        Interruption(cfg.work_dir, go_on) as interruption,
        NewWorkDir(cfg.work_dir) as folder,
        naming_empty_images(cfg),
        checked_annotations(),
        only_weights(),
    ):
        runner = Runner.from_cfg(cfg)
        runner.register_hook(folder)
        runner.register_hook(interruption)
        save_whole_checkpoints(runner)
        runner.register_hook(ResumedState())
        runner.register_hook(SeededIterations())
        runner.register_hook(EvaluationNotice())
        warn_without_hook(runner)
        if cfg.get('resume') and cfg.get('load_from'):
            check_checkpoint(_unwrapped(runner.model), cfg.load_from, _classes(cfg, 'train'))
            name_what_does_not_fit(runner, cfg.load_from)
        elif resume:  # load_from, if any, is where the weights start
            runner.logger.log(logging.WARNING, f'{cfg.work_dir} has no checkpoint: starting anew')
        record_start(runner, 'resume' if cfg.get('resume') else 'train', cfg.get('load_from'))
        runner.train()
    return runner


def test(
    cfg: Config,
    checkpoint: str,
    *,
    out: str | None = None,
    show: bool = False,
    show_dir: str | None = None,
    wait_time: float = 2.0,
    tta: bool = False,
) -> dict:
    """Test a checkpoint with the evaluators of a config.

    Args:
        cfg: from :func:`load_config`.
        checkpoint: file to test; must hold the classes of the config.
        out: pickle file for the predictions.
        show, show_dir, wait_time: draw predictions beside ground truth, on screen or into
            ``work_dir/<timestamp>/show_dir``.
        tta: test-time augmentation as the config says (``tta_model``, ``tta_pipeline``), else
            horizontal flips.

    Returns:
        The metrics.

    Raises:
        UserError: what is asked for is not possible, found before anything is written.
    """
    if out and not out.endswith(('.pkl', '.pickle')):
        raise UserError(f'--out must end in .pkl or .pickle, got {out}')
    if not osp.isfile(checkpoint):
        raise UserError(f'checkpoint {checkpoint} does not exist')
    check_data(cfg, ('test',))
    cfg.load_from = checkpoint
    cfg.resume = False
    if show or show_dir:
        hook = cfg.default_hooks.get('visualization')
        if not hook:
            raise UserError(
                "--show and --show-dir need visualization=dict(type='DetVisualizationHook') "
                "in the config's default_hooks"
            )
        hook.draw = True
        hook.show, hook.wait_time, hook.test_out_dir = show, wait_time, show_dir
    if tta:
        _augment_at_test(cfg)
    _own_visualizer(cfg)
    with (
        NewWorkDir(cfg.work_dir) as folder,
        naming_empty_images(cfg),
        checked_annotations(),
        only_weights(),
    ):
        runner = Runner.from_cfg(cfg)
        runner.register_hook(folder)
        runner.register_hook(EvaluationNotice())
        check_checkpoint(_unwrapped(runner.model), checkpoint, _classes(cfg, 'test'))
        if out:
            from mmdet.evaluation import DumpDetResults

            Path(out).parent.mkdir(parents=True, exist_ok=True)
            runner.test_evaluator.metrics.append(DumpDetResults(out_file_path=out))
        record_start(runner, 'test', checkpoint)
        return runner.test()


def _as_options(values: dict | list[str]) -> dict:
    if isinstance(values, dict):
        return values
    for value in values:
        if not value.partition('=')[1]:
            raise UserError(f'--cfg-options takes KEY=VALUE, got {value}')
    parsed = argparse.Namespace()
    DictAction([], 'options')(None, parsed, values)
    return parsed.options


def _run_without_gpu(cfg: Config) -> None:
    """Let several CPU processes train: MMEngine alone would look for a GPU in each of them."""
    if cfg.launcher == 'none' or torch.cuda.is_available():
        return
    cfg.model_wrapper_cfg = dict(
        type='MMDistributedDataParallel',
        device_ids=None,
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )
    cfg.setdefault('env_cfg', ConfigDict()).setdefault('dist_cfg', ConfigDict()).backend = 'gloo'
    if cfg.launcher == 'pytorch' and not torch.distributed.is_initialized():
        torch.distributed.init_process_group('gloo')
    elif not torch.distributed.is_initialized():
        init_dist(cfg.launcher, backend='gloo')


def _own_visualizer(cfg: Config) -> None:
    """Let the visualizer take the run's name.

    MMEngine keeps visualizers by name: under one name the scalars of a second run in the same
    process would go to the folder of the first.
    """
    if cfg.get('visualizer'):
        cfg.visualizer.pop('name', None)


def _keep_seed(cfg: Config) -> None:
    """Go on with the seed that a run without one in its config was given.

    MMEngine takes it from the checkpoint too, but after the sampler has drawn another.
    """
    randomness = cfg.setdefault('randomness', ConfigDict())
    if randomness.get('seed') is None:
        _, meta = read_checkpoint(cfg.load_from)
        randomness.seed = meta.get('seed')


def _augment_at_test(cfg: Config) -> None:
    cfg.setdefault(
        'tta_model',
        ConfigDict(
            type='DetTTAModel',
            tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100),
        ),
    )
    if 'tta_pipeline' not in cfg:
        pipeline = deepcopy(next(leaf_datasets(cfg.test_dataloader.dataset)).pipeline)
        pack = pipeline.pop()
        pack.meta_keys = (
            *('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
            *('flip', 'flip_direction'),
        )
        flips = [dict(type='RandomFlip', prob=prob) for prob in (1.0, 0.0)]
        pipeline.append(dict(type='TestTimeAug', transforms=[flips, [pack]]))
        cfg.tta_pipeline = pipeline
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)
    for dataset in leaf_datasets(cfg.test_dataloader.dataset):
        dataset.pipeline = cfg.tta_pipeline


def _classes(cfg: Config, mode: str) -> tuple[str, ...] | None:
    return dataset_classes(next(leaf_datasets(cfg[f'{mode}_dataloader'].dataset)))


def _unwrapped(model: torch.nn.Module) -> torch.nn.Module:
    while hasattr(model, 'module') and isinstance(model.module, torch.nn.Module):
        model = model.module
    return model


def local_rank(value: int) -> None:
    """Tell MMEngine the rank on this machine where the launcher passed it as an argument."""
    os.environ.setdefault('LOCAL_RANK', str(value))
