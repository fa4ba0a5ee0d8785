"""Faults of released mmengine versions with current torch and setuptools.

Each is mended only where it is found, so a release that has its own remedy keeps it.
"""

import importlib.metadata
import importlib.util
import os.path
import sys

import torch
from mmengine.runner import checkpoint
from mmengine.utils import package_utils

from rankdet.compat.checkpoint_globals import checkpoint_globals


def mend() -> None:
    """Mend what this environment needs."""
    _load_own_checkpoints()
    _live_without_pkg_resources()


def _load_own_checkpoints() -> None:
    # Since torch 2.6 torch.load takes weights only; mmengine up to 0.10.7 neither says what else
    # its checkpoints hold (the log's history, numpy values) nor asks for the old way.
    old = torch.__version__ < (2, 6)  # type: ignore[operator]  # a str that compares as a version
    if old or hasattr(checkpoint, 'get_torch_safe_globals'):
        return
    torch.serialization.add_safe_globals(checkpoint_globals())


def _live_without_pkg_resources() -> None:
    # mmengine up to 0.10.7 resolves 'mmdet::...' with pkg_resources: setuptools 81 dropped it, and
    # Python 3.12 no longer puts setuptools into a new environment.
    if importlib.util.find_spec('pkg_resources'):
        return
    for replacement in (is_installed, get_installed_path):
        original = getattr(package_utils, replacement.__name__)
        if 'pkg_resources' not in original.__code__.co_names:
            continue
        for name, module in list(sys.modules.items()):  # wherever it was imported by name
            if name.startswith('mmengine') and vars(module).get(replacement.__name__) is original:
                setattr(module, replacement.__name__, replacement)


def is_installed(package: str) -> bool:
    """Whether a distribution or a module of this name is installed."""
    try:
        importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        spec = importlib.util.find_spec(package)
        return spec is not None and spec.origin is not None
    return True


def get_installed_path(package: str) -> str:
    """Folder of the module that a distribution, or a module of this name, installs."""
    try:
        distribution = importlib.metadata.distribution(package)
        module = (distribution.read_text('top_level.txt') or package).split()[0]
    except importlib.metadata.PackageNotFoundError:
        module = package
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ImportError(f'package {package!r} is not installed', name=package)
    return os.path.dirname(spec.origin)
