"""What figures call the runs: by loss, by detector where it differs, by options where these do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mmengine.config import Config

if TYPE_CHECKING:
    from rankdet.analysis.figures.runs import Run

LOSS_NAMES = {
    'APLoss': 'AP',
    'AUCLoss': 'AUC',
    'aLRPLoss': 'aLRP',
    'DRLoss': 'DR',
    'FocalLoss': 'focal',
    'CrossEntropyLoss': 'CE',
    'OHEMCrossEntropyLoss': 'CE + OHEM',
    'ApproxAPLoss': 'AP, approximate gradient',
    'StructuredHingeAPLoss': 'AP, structured hinge',
}
_HEADS = ('bbox_head', 'rpn_head')
#: What of a config may differ between trainings that are averaged: seed, place, messages.
_OF_NO_ACCOUNT = (
    'randomness', 'work_dir', 'experiment_name', 'visualizer', 'vis_backends', 'custom_imports',
    'launcher', 'env_cfg', 'resume', 'log_level', 'log_processor',
)  # fmt: skip
_HOOKS = ('default_hooks', 'custom_hooks')
#: Hooks that watch, draw or save: a training goes the same way without them.
_WATCHING = (
    'LossRecorder', 'RuntimeInfoHook', 'IterTimerHook', 'LoggerHook', 'CheckpointHook',
    'DetVisualizationHook', 'TrackVisualizationHook', 'GroundingVisualizationHook',
    'TrainAugmentDetVisualizationHook', 'NaiveVisualizationHook', 'ProfilerHook',
    'NPUProfilerHook', 'MemoryProfilerHook', 'EmptyCacheHook', 'CheckInvalidLossHook',
    'NumClassCheckHook',
)  # fmt: skip
#: Hooks that MMEngine has at work where a config names no others in their place.
_BY_DEFAULT = dict(
    param_scheduler=dict(type='ParamSchedulerHook'), sampler_seed=dict(type='DistSamplerSeedHook')
)
#: How many options a label names; the folder stands for more.
_MOST = 2
_LONGEST = 36
_HOOK = object()  # stands for a hook as a whole among the options


def labels_of(runs: Sequence[Run]) -> list[str]:
    """A label for each run; equal ones only for configs that train alike but for the seed.

    Args:
        runs: a config that is missing makes the folder's name the label.
    """
    configs = [None if run.config_file is None else run.config for run in runs]
    described = [_describe(run, cfg) for run, cfg in zip(runs, configs)]
    detectors = {detector for detector, _ in described if detector}
    labels = [
        f'{detector}, {loss}' if detector and len(detectors) > 1 else loss
        for detector, loss in described
    ]
    options = [{} if cfg is None else _options(cfg) for cfg in configs]
    found = list(labels)
    for label in dict.fromkeys(labels):
        own = [n for n, one in enumerate(labels) if one == label]
        suffixes = _differences([options[n] for n in own])
        for n, suffix in zip(own, suffixes or [runs[n].folder.resolve().name for n in own]):
            found[n] = f'{label}, {suffix}' if suffix else label
    return found


def hook_type(hook: Mapping[str, Any]) -> str:
    """The name of a hook's class in a config, without the registry's.

    >>> hook_type(dict(type='mmdet.DetVisualizationHook', draw=True))
    'DetVisualizationHook'
    """
    kind = hook.get('type', '')
    return str(getattr(kind, '__name__', kind)).rpartition('.')[2]


def _describe(run: Run, cfg: Config | None) -> tuple[str, str]:
    """Detector and loss."""
    if cfg is None:
        return '', run.folder.resolve().name
    head: dict = next((cfg.model[name] for name in _HEADS if name in cfg.model), {})
    loss = (head.get('loss_cls') or {}).get('type', '')
    loss = LOSS_NAMES.get(loss, loss.removesuffix('Loss'))
    return str(cfg.model.type), loss or run.folder.resolve().name


def _options(cfg: Config) -> dict[str, Any]:
    content = cfg.to_dict()
    kept = {k: v for k, v in content.items() if k not in (*_OF_NO_ACCOUNT, *_HOOKS)}
    return dict(_flat(kept)) | dict(_hook_options(content))


def _hook_options(content: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """For each hook that changes the training its name alone, and the name with each option."""
    default, custom = (content.get(key) or () for key in _HOOKS)
    hooks = [*(_BY_DEFAULT | dict(default)).values(), *custom]
    found: list[str] = []
    for hook in filter(None, hooks):  # None takes one of the defaults away
        kind = hook_type(hook)
        if kind in _WATCHING:
            continue
        found.append(kind)
        name = kind if found.count(kind) == 1 else f'{kind} {found.count(kind)}'
        yield name, _HOOK
        for key, value in hook.items():
            if key != 'type':
                yield from _flat(value, f'{name}.{key}')


def _flat(node: Any, path: str = '') -> Iterator[tuple[str, Any]]:
    """Every value with its place in the config."""
    if isinstance(node, (list, tuple)):
        node = dict(enumerate(node))
    if not isinstance(node, dict) or not node:
        yield path, node
        return
    for key, value in node.items():
        yield from _flat(value, f'{path}.{key}' if path else str(key))


def _differences(options: Sequence[dict[str, Any]]) -> list[str] | None:
    """What tells the configs apart, '' where nothing does; None where that is too much to say."""
    keys = dict.fromkeys(key for one in options for key in one)
    hooks = [key for key in keys if any(one.get(key) is _HOOK for one in options)]
    differing = [key for key in keys if len({repr(one.get(key, _flat)) for one in options}) > 1]
    # Of a hook that only some have, the options say no more.
    some = [key for key in differing if key in hooks]
    differing = [key for key in differing if key in some or key.partition('.')[0] not in some]
    if not differing:
        return [''] * len(options)
    if len(differing) > _MOST:
        return None
    names = [key.rpartition('.')[2] for key in differing]
    names = [
        key if names.count(name) > 1 or key.partition('.')[0] in hooks else name
        for key, name in zip(differing, names)
    ]

    def words(one: dict[str, Any], key: str, name: str) -> str:
        if key in hooks:
            return name if key in one else f'no {name}'
        return f'{name}={one[key]}' if key in one else f'{name} by default'

    said = [', '.join(words(one, *named) for named in zip(differing, names)) for one in options]
    return None if max(map(len, said)) > _LONGEST * len(differing) else said
