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
#: What of a config may differ between trainings that are averaged: seed, place, hooks, messages.
_OF_NO_ACCOUNT = (
    'randomness', 'work_dir', 'experiment_name', 'visualizer', 'vis_backends', 'custom_hooks',
    'default_hooks', 'custom_imports', 'launcher', 'env_cfg', 'resume', 'log_level',
    'log_processor',
)  # fmt: skip
#: How many options a label names; the folder stands for more.
_MOST = 2
_LONGEST = 30


def labels_of(runs: Sequence[Run]) -> list[str]:
    """A label for each run; equal ones only for configs that differ by seed, place and hooks alone.

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
    kept = {key: value for key, value in cfg.to_dict().items() if key not in _OF_NO_ACCOUNT}
    return dict(_flat(kept))


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
    differing = [key for key in keys if len({repr(one.get(key, _flat)) for one in options}) > 1]
    if not differing:
        return [''] * len(options)
    if len(differing) > _MOST:
        return None
    names = [key.rpartition('.')[2] for key in differing]
    names = [key if names.count(name) > 1 else name for key, name in zip(differing, names)]
    said = [
        ', '.join(
            f'{name}={one[key]}' if key in one else f'{name} by default'
            for key, name in zip(differing, names)
        )
        for one in options
    ]
    return None if max(map(len, said)) > _LONGEST * len(differing) else said
