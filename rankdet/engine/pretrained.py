"""The ImageNet weights that a detector starts from: found, read from a folder, or done without.

A config names them (``init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50')``)
and MMEngine downloads them when training starts, long after a run has begun. Here it is settled
before. The environment variable ``BACKBONES`` says where they come from:

=================== ==============================================================================
``BACKBONES``       weights
=================== ==============================================================================
not set             downloaded once into torch's cache, as MMEngine does
a folder            read from there, under the name that the address ends in; no network
``none``            random, and then nothing is frozen: see :func:`start_at_random`
=================== ==============================================================================
"""

from __future__ import annotations

import difflib
import hashlib
import inspect
import logging
import os
import os.path as osp
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log
from mmengine.runner import checkpoint as host

from .errors import UserError
from .preflight import read_checkpoint

BACKBONES = 'BACKBONES'
RANDOM = 'none'
_TIMEOUT = 10.0  # seconds, until an address counts as out of reach
_HASH = re.compile(r'-([0-9a-f]{8,64})\.')  # at least as long as those that are published
_NO_HEAD = (405, 501)  # what a server answers that is there, but only gives whole files


class Weights(NamedTuple):
    """Weights that a config names.

    Attributes:
        where: the part of the model that starts from them, such as 'model.backbone'.
        name: how the config names them.
        url: their address; None where the name is that of a local file.
        file: name of the file, the last part of the address.
    """

    where: str
    name: str
    url: str | None
    file: str

    @property
    def cached(self) -> Path:
        """Where torch keeps them once they are downloaded."""
        return Path(torch.hub.get_dir(), 'checkpoints', self.file)


def pretrained_weights(cfg: Config) -> list[Weights]:
    """The weights that the parts of a model start from.

    Args:
        cfg: a whole config.

    Raises:
        UserError: a name is not in MMEngine's lists.

    >>> cfg = Config(dict(model=dict(backbone=dict(type='ResNet', init_cfg=dict(
    ...     type='Pretrained', checkpoint='torchvision://resnet50')))))
    >>> [found] = pretrained_weights(cfg)
    >>> found.where, found.file
    ('model.backbone', 'resnet50-0676ba61.pth')
    """
    return [_weights(where, part.init_cfg.checkpoint) for where, part in _starting_parts(cfg)]


def prepare_backbones(cfg: Config, source: str | None = None) -> None:
    """Settle where pretrained weights come from, before a training starts.

    Args:
        cfg: a whole config; its names are replaced by files, or taken out.
        source: a folder, 'none', or None for downloading; default: ``BACKBONES``.

    Raises:
        UserError: weights are nowhere to be had; names the address, the file and what to do.
    """
    source = source or os.environ.get(BACKBONES) or None
    if source == RANDOM:
        start_at_random(cfg)
    for where, part in _starting_parts(cfg):
        if path := find_weights(_weights(where, part.init_cfg.checkpoint), source):
            part.init_cfg.checkpoint = str(path)
    _warn_of_frozen_noise(cfg)


def find_weights(weights: Weights, source: str | None = None) -> Path | None:
    """The file in a folder that weights are read from; None where MMEngine finds them itself.

    Args:
        weights: of a config that does not start from random ones.
        source: a folder, or None for downloading; default: ``BACKBONES``.

    Raises:
        UserError: they are nowhere to be had, or are no readable checkpoint.
    """
    source = source or os.environ.get(BACKBONES) or None
    if source and weights.url:
        return _in_folder(weights, Path(source))
    _check_reachable(weights)
    return None


def starts_at_random(cfg: Config) -> bool:
    """Whether ``BACKBONES=none`` takes the pretrained weights of a config away."""
    return os.environ.get(BACKBONES) == RANDOM and any(True for _ in _starting_parts(cfg))


def start_at_random(cfg: Config) -> None:
    """Let a training start from random weights where it would start from pretrained ones.

    What is frozen because it is pretrained would stay noise for ever, so that nothing is frozen
    any more: ``frozen_stages=-1``, ``norm_eval=False``, ``norm_cfg.requires_grad=True``. Batch
    norm then needs a handful of images on each process. Rates and lengths of schedules stay those
    of the config, which were chosen for pretrained weights.
    """
    for where, part in _starting_parts(cfg):
        part.init_cfg = None
        kind = _class_of(part)
        if _takes(kind, 'frozen_stages'):
            part.frozen_stages = -1
        if _takes(kind, 'norm_eval'):
            part.norm_eval = False
        if part.get('norm_cfg'):
            part.norm_cfg.requires_grad = True
        print_log(f'{where} starts from random weights; nothing of it is frozen', 'current')


def download(weights: Weights, folder: str | Path) -> Path:
    """Download weights into a folder that ``BACKBONES`` may name; once.

    Where the name of the file carries the beginning of its SHA-256, as torch's hub has it, the
    bytes must have it too.

    Raises:
        UserError: they cannot be reached, or came broken.
    """
    path = Path(folder, weights.file)
    named = _HASH.search(weights.file)
    missing = not path.exists()
    if missing and weights.url:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(weights.url, str(path))
        except OSError as error:
            raise UserError(f'{weights.url} cannot be downloaded: {_reason(error)}') from error
    if named and not _sha256(path).startswith(named[1]):
        if missing:  # nobody may take it for the weights
            path.unlink()
        raise UserError(
            f'{path} is not what its name says: its SHA-256 does not begin with {named[1]}; '
            f'{"" if missing else "delete it and "}download it again'
        )
    read_checkpoint(str(path))
    return path


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open('rb') as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _starting_parts(cfg: Config) -> Iterator[tuple[str, ConfigDict]]:
    """The parts of the model with pretrained weights."""
    for where, part in _parts(cfg.get('model'), 'model'):
        init_cfg = part.get('init_cfg')
        if isinstance(init_cfg, dict) and init_cfg.get('type') == 'Pretrained':
            yield where, part


def _parts(node: Any, where: str) -> Iterator[tuple[str, ConfigDict]]:
    if isinstance(node, dict):
        yield where, node
        for key, child in node.items():
            yield from _parts(child, f'{where}.{key}')
    elif isinstance(node, (list, tuple)):
        for index, child in enumerate(node):
            yield from _parts(child, f'{where}.{index}')


def _weights(where: str, name: str) -> Weights:
    scheme, separator, rest = name.partition('://')
    if not separator:
        return Weights(where, name, None, osp.basename(name))
    if scheme in ('http', 'https'):
        url = name
    elif scheme in ('open-mmlab', 'openmmlab'):
        rest = host.get_deprecated_model_names().get(rest, rest)
        url = _look_up(where, name, rest, host.get_external_models())
    elif scheme == 'torchvision':
        url = _look_up(where, name, rest, host.get_torchvision_models())
    elif scheme == 'mmcls':
        url = _look_up(where, name, rest, host.get_mmcls_models())
    else:
        return Weights(where, name, None, osp.basename(name))  # a store that MMEngine knows
    return Weights(where, name, url, osp.basename(url))


def _look_up(where: str, name: str, key: str, urls: dict[str, str]) -> str:
    if key not in urls:
        near = difflib.get_close_matches(key, urls, n=3, cutoff=0.4)
        hint = f'; nearest: {", ".join(near)}' if near else ''
        raise UserError(f"{where}: {name} is not in MMEngine's list of weights{hint}")
    return urls[key]


def _in_folder(weights: Weights, folder: Path) -> Path:
    path = folder / weights.file
    if not path.is_file():
        raise UserError(
            f'{weights.where} starts from {weights.name}: {BACKBONES}={folder} has no '
            f'{weights.file}; it is at {weights.url}. {_without(weights)}'
        )
    read_checkpoint(str(path))
    return path


def _check_reachable(weights: Weights) -> None:
    if weights.url is None:
        if '://' in weights.name:
            return
        if not osp.isfile(path := osp.expanduser(weights.name)):
            raise UserError(
                f'{weights.where} starts from the file {weights.name}, which does not exist. '
                f'{_without(weights)}'
            )
        read_checkpoint(path)
        return
    if weights.cached.is_file():
        read_checkpoint(str(weights.cached))
        return
    try:
        request = urllib.request.Request(weights.url, method='HEAD')
        urllib.request.urlopen(request, timeout=_TIMEOUT).close()
    except OSError as error:
        if getattr(error, 'code', None) in _NO_HEAD:
            return
        raise UserError(
            f'{weights.where} starts from {weights.name}: {weights.url} cannot be reached '
            f'({_reason(error)}). Put {weights.file} into a folder and set {BACKBONES}=FOLDER. '
            f'{_without(weights)}'
        ) from error


def _without(weights: Weights) -> str:
    key = f'{weights.where}.init_cfg.checkpoint'
    return (
        f'Or give any file: {key}=FILE, in the config or with --cfg-options; or start from '
        f'random weights: {BACKBONES}={RANDOM}'
    )


def _warn_of_frozen_noise(cfg: Config) -> None:
    part = (cfg.get('model') or {}).get('backbone') or {}
    if part.get('init_cfg') or part.get('pretrained') or cfg.get('load_from'):
        return
    norm_cfg = part.get('norm_cfg') or {}
    if part.get('frozen_stages', -1) >= 0 or norm_cfg.get('requires_grad') is False:
        print_log(
            f'model.backbone freezes some of its random weights for ever; {BACKBONES}={RANDOM} '
            'takes out pretrained weights and what is frozen for them',
            'current',
            logging.WARNING,
        )


def _class_of(part: ConfigDict) -> type:
    from mmdet.registry import MODELS

    kind = MODELS.get(part.type) if isinstance(part.type, str) else part.type
    return kind or object


def _takes(kind: type, argument: str) -> bool:
    """Whether a class takes it, or hands it on to a class below that does."""
    for ancestor in kind.__mro__:
        if '__init__' not in vars(ancestor):
            continue
        parameters = inspect.signature(vars(ancestor)['__init__']).parameters
        if argument in parameters:
            return True
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            return False
    return False


def _reason(error: OSError) -> str:
    is_answer = hasattr(error, 'code')  # "HTTP Error 404: Not Found", not only "Not Found"
    return str(error if is_answer else getattr(error, 'reason', error))
