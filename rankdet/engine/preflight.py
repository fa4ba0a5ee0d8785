"""What can be wrong with a run is found before it starts, so that nothing is left half done."""

from __future__ import annotations

import json
import os.path as osp
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from numbers import Integral
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import OPTIMIZERS
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn

from rankdet.commands import tool_line
from rankdet.untrusted import Refused, coco_bytes

from .errors import UserError
from .weights_only import RUN_CODE, only_weights, runs_code

# Sets of digits that configs of ours train on, and the options that make them.
_DIGITS = {'digits': (), 'digits-128': ('--train', 4000, '--val', 300, '--size', 128)}
_LONGEST_CATEGORIES = 2**24  # bytes; LVIS, with 1,203 described classes, needs less than a tenth


def check_data(cfg: Config, modes: tuple[str, ...]) -> None:
    """Check that the data sets of a config are there and hold the classes it names.

    Looks at paths, at the categories of COCO files, and at ``num_classes`` of the heads.

    Args:
        cfg: a whole config.
        modes: which of 'train', 'val' and 'test' are about to be used; the first one must be.

    Raises:
        UserError: names the config entry, the path and the remedy.
    """
    needed = ['model', f'{modes[0]}_dataloader', f'{modes[0]}_cfg']
    missing = [key for key in needed if not cfg.get(key)]
    if missing:
        raise UserError(f'config {cfg.filename} has no {missing[0]}; start from one in configs/')
    _check_optimizer(cfg if 'train' in modes else {})
    for mode in modes:
        loader = cfg.get(f'{mode}_dataloader')
        if loader:
            for dataset in leaf_datasets(loader.dataset):
                _check_dataset(f'{mode}_dataloader', dataset, cfg)
        evaluators = cfg.get(f'{mode}_evaluator') if mode != 'train' else None
        for evaluator in _as_list(evaluators):
            path = evaluator.get('ann_file')
            if path and _is_local(path) and not osp.exists(path):
                raise UserError(
                    f'{mode}_evaluator ({evaluator.type}): annotation file {path} does not exist; '
                    'it is usually the one of the data loader: set both'
                )
            if path and _is_local(path) and path.endswith('.json'):
                coco_bytes(path)


def leaf_datasets(dataset: ConfigDict) -> Iterator[ConfigDict]:
    """The data sets inside wrappers such as RepeatDataset and ConcatDataset."""
    inner = dataset.get('dataset') or dataset.get('datasets')
    if not inner:
        yield dataset
    for child in _as_list(inner):
        yield from leaf_datasets(child)


def dataset_classes(dataset: ConfigDict) -> tuple[str, ...] | None:
    """Names of the classes that a data set will have: from its metainfo, else from its type."""
    classes = (dataset.get('metainfo') or {}).get('classes')
    if classes is None:
        from mmdet.registry import DATASETS

        kind = DATASETS.get(dataset.type) if isinstance(dataset.type, str) else dataset.type
        classes = getattr(kind, 'METAINFO', {}).get('classes')
    if isinstance(classes, str):  # a file with one name a line, or one bare name
        classes = Path(classes).read_text().split('\n') if osp.exists(classes) else [classes]
    if classes is None:
        return None
    numbers = [name for name in classes if not isinstance(name, str)]
    if numbers:
        raise UserError(
            f'metainfo of {dataset.type}: the classes must be strings, got {numbers[0]!r}; '
            'write them into the config, because --cfg-options reads digits as numbers'
        )
    return tuple(name for name in classes if name)


def _check_dataset(where: str, dataset: ConfigDict, cfg: Config) -> None:
    where = f'{where} ({dataset.type})'
    root = dataset.get('data_root') or ''
    if root and _is_local(root) and not osp.exists(root):
        raise UserError(f'{where}: data_root {root} does not exist; {_remedy(root)}')
    ann_file = osp.join(root, dataset.get('ann_file') or '')
    if dataset.get('ann_file') and _is_local(ann_file) and not osp.exists(ann_file):
        raise UserError(f'{where}: annotation file {ann_file} does not exist; {_remedy(root)}')
    prefix = dataset.get('data_prefix') or {}
    for key, folder in prefix.items() if isinstance(prefix, dict) else [('img', prefix)]:
        path = osp.join(root, folder) if isinstance(folder, str) else ''
        if path and _is_local(path) and not osp.isdir(path):
            raise UserError(f'{where}: folder {path} ({key}) does not exist; {_remedy(root)}')
    for pickled in (ann_file, dataset.get('proposal_file') or ''):
        if pickled.endswith(('.pkl', '.pickle')) and not runs_code():
            raise UserError(
                f'{where}: {pickled} is a pickle, which may run any code when it is read; write it '
                f'as JSON, or, if you trust who made it, set {RUN_CODE}=1'
            )
    classes = dataset_classes(dataset)
    if classes is None:
        return
    if ann_file.endswith('.json') and _is_local(ann_file):
        known = coco_categories(ann_file)
        unknown = [name for name in classes if name not in known]
        if unknown:
            raise UserError(
                f'{where}: class {_names(unknown)} is not among the categories of {ann_file}, '
                f'which are {_names(known)}; set metainfo=dict(classes=...) of the data set'
            )
    for path, count in _class_counts(cfg.model):
        if count != len(classes):
            raise UserError(
                f'{path} is {count}, but {where} has {len(classes)} classes ({_names(classes)}); '
                f'set {path}={len(classes)}, in the config or with --cfg-options'
            )


def _check_optimizer(cfg: Config | dict) -> None:
    # MMEngine itself would say "None is not a callable object".
    kind = ((cfg.get('optim_wrapper') or {}).get('optimizer') or {}).get('type')
    if isinstance(kind, str) and OPTIMIZERS.get(kind) is None:
        raise UserError(f'optim_wrapper.optimizer: {kind} is not registered; check its spelling')


@contextmanager
def naming_empty_images(cfg: Config) -> Iterator[None]:
    """Name the empty image that OpenCV failed on: it does not say which one that was."""
    try:
        yield
    except Exception as error:
        if '!buf.empty()' not in str(error):
            raise
        loaders = [cfg.get(f'{mode}_dataloader') for mode in ('train', 'val', 'test')]
        for dataset in (d for loader in loaders if loader for d in leaf_datasets(loader.dataset)):
            prefix = (dataset.get('data_prefix') or {}).get('img', '')
            folder = Path(dataset.get('data_root') or '', prefix)
            for path in folder.rglob('*'):
                if path.is_file() and not path.stat().st_size:
                    raise UserError(
                        f'{path} is empty, no readable image: replace it or take it out of the '
                        'data set'
                    ) from error
        raise


def coco_categories(path: str) -> list[str]:
    """Category names of a COCO file, without reading the rest of what may be half a gigabyte."""
    data = coco_bytes(path)
    if not data.rstrip().endswith(b'}'):
        raise UserError(f'annotation file {path} is cut short or no JSON object; write it again')
    decoder = json.JSONDecoder()
    for found in re.finditer(rb'"categories"\s*:\s*', data):
        tail = data[found.end() : found.end() + _LONGEST_CATEGORIES]
        try:
            value, _ = decoder.raw_decode(tail.decode('utf-8', errors='replace'))
            return [str(category['name']) for category in value]
        except (ValueError, TypeError, KeyError, RecursionError):
            continue
    raise UserError(f'annotation file {path} has no list "categories": it is not in COCO format')


def check_checkpoint(model: nn.Module, path: str, classes: tuple[str, ...] | None) -> None:
    """Check that a checkpoint belongs to this model before it is tested or resumed.

    Args:
        model: the model it is to be loaded into.
        path: the checkpoint.
        classes: class names of the data, compared with those stored in the checkpoint.

    Raises:
        UserError: the file is no checkpoint, holds other classes, or has weights that are missing
            or of another shape.
    """
    state, meta = read_checkpoint(path)
    trained = (meta.get('dataset_meta') or {}).get('classes')
    if classes and trained and tuple(trained) != tuple(classes):
        raise UserError(
            f'checkpoint {path} was trained on {len(trained)} classes ({_names(trained)}), the '
            f'config has {len(classes)} ({_names(classes)}); use the config of its training'
        )
    own = model.state_dict()
    shapes = [
        f'{key} is {tuple(state[key].shape)}, the model has {tuple(own[key].shape)}'
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    missing = [key for key, _ in model.named_parameters() if key not in state]
    if shapes or missing:
        facts = shapes or [f'{key} is missing' for key in missing]
        raise UserError(
            f'checkpoint {path} does not fit this config: {facts[0]}'
            + (f' (and {len(facts) - 1} more)' if len(facts) > 1 else '')
            + '; use the config of its training'
        )


def read_checkpoint(path: str) -> tuple[dict, dict]:
    """Weights and meta data of a checkpoint, read without running code from it.

    Raises:
        UserError: the file is missing, cut short, no checkpoint, brings code, or says what MMEngine
            needs to know (classes, epoch, iteration) in values of another kind.
    """
    if not osp.isfile(path):
        raise UserError(f'checkpoint {path} does not exist')
    try:
        with only_weights():
            checkpoint = CheckpointLoader.load_checkpoint(path, map_location='cpu', logger=None)
    except (UserError, Refused) as error:
        raise UserError(str(error)) from error
    except Exception as error:
        reason = re.split(r'\. |\n', str(error).strip())[0].rstrip('.')
        why = f' ({reason})' if ' ' in reason else ''  # of junk, pickle says no more than a number
        raise UserError(
            f'{path} is no readable checkpoint{why}: it was cut short or is another kind of file'
        ) from error
    if not isinstance(checkpoint, dict):
        raise UserError(f'{path} is no checkpoint: it holds a {type(checkpoint).__name__}')
    state = checkpoint.get('state_dict', checkpoint)
    if not (isinstance(state, dict) and state and all(map(_is_weight, state.items()))):
        raise UserError(f'{path} is no checkpoint: it holds no weights')
    state = {key.removeprefix('module.'): value for key, value in state.items()}
    meta = checkpoint.get('meta') if 'state_dict' in checkpoint else None
    _check_meta(path, meta)
    return state, meta or {}


def _check_meta(path: str, meta: Any) -> None:
    """Refuse facts of a kind that MMEngine never writes, which it would stumble over later."""

    def refuse(name: str, value: Any, right: str) -> None:
        raise UserError(
            f'{path} is no checkpoint of MMEngine: its {name} is a {type(value).__name__}, not '
            f'{right}; use one as the training wrote it'
        )

    if meta is None:
        return
    if not isinstance(meta, dict):
        refuse('meta', meta, 'a dict')
    data = meta.get('dataset_meta')
    if data is not None and not isinstance(data, dict):
        refuse("meta['dataset_meta']", data, 'a dict')
    classes = (data or {}).get('classes')
    if classes is not None and not (
        isinstance(classes, (list, tuple)) and all(isinstance(name, str) for name in classes)
    ):
        refuse("meta['dataset_meta']['classes']", classes, 'a list of names')
    for key in ('epoch', 'iter', 'seed'):
        value = meta.get(key)
        if value is not None and (isinstance(value, bool) or not isinstance(value, Integral)):
            refuse(f'meta[{key!r}]', value, 'a whole number')


def _is_weight(item: tuple) -> bool:
    return isinstance(item[0], str) and isinstance(item[1], torch.Tensor)


def _class_counts(node: Any, path: str = 'model') -> Iterator[tuple[str, int]]:
    """``num_classes`` of every head, with its place in the config."""
    if isinstance(node, dict):
        if isinstance(node.get('num_classes'), int) and 'RPN' not in str(node.get('type')):
            yield f'{path}.num_classes', node['num_classes']
        for key, child in node.items():
            yield from _class_counts(child, f'{path}.{key}')
    elif isinstance(node, (list, tuple)):
        for index, child in enumerate(node):
            yield from _class_counts(child, f'{path}.{index}')


def _remedy(root: str) -> str:
    options = _DIGITS.get(osp.basename(osp.normpath(root)))
    if options is not None:
        return f'make it with: {tool_line("make_digits", "--out", root, *options)}'
    return 'put the data there, or say where it is with --cfg-options or in the config'


def _names(names: Iterable[str]) -> str:
    names = list(names)
    shown = ', '.join(names[:8])
    return shown + (', ...' if len(names) > 8 else '')


def _as_list(value: Any) -> list:
    return list(value) if isinstance(value, (list, tuple)) else [value] if value else []


def _is_local(path: str) -> bool:
    return '://' not in path
