"""Faults of released mmengine versions with current torch and setuptools.

Each is mended only where it is found, so a release that has its own remedy keeps it.
"""

import ast
import importlib.metadata
import importlib.util
import os.path
import sys
from functools import lru_cache

import torch
from mmengine.config import Config
from mmengine.runner import checkpoint
from mmengine.utils import package_utils

from rankdet.compat.checkpoint_globals import checkpoint_globals


def mend() -> None:
    """Mend what this environment needs."""
    _load_own_checkpoints()
    _live_without_pkg_resources()
    _format_configs_once()


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


def _format_configs_once() -> None:
    # mmengine formats the whole config anew five times at the start of a run and with each
    # checkpoint: a second each time for a config of the papers.
    original = Config.pretty_text.fget

    def pretty_text(self: Config) -> str:
        """The config as formatted Python."""
        if not self._format_python_code:
            return original(self)
        object.__setattr__(self, '_format_python_code', False)
        try:
            text = original(self)
        finally:
            object.__setattr__(self, '_format_python_code', True)
        try:
            return formatted(text)
        except Exception:  # mmengine says what is wrong
            return original(self)

    if original.__module__ != __name__:
        Config.pretty_text = property(pretty_text)


def formatted(text: str) -> str:
    """A config as mmengine formats it, of which a statement is formatted once in a process."""
    lines = text.split('\n')
    nodes = ast.parse(text).body
    statements = ['\n'.join(lines[node.lineno - 1 : node.end_lineno]) for node in nodes]
    if '\n'.join(statements) != text:
        raise ValueError('there is something between the statements')
    return ''.join(map(_formatted, statements))


@lru_cache(maxsize=1000)
def _formatted(statement: str) -> str:
    from yapf.yapflib.yapf_api import FormatCode

    style = dict(
        based_on_style='pep8',
        blank_line_before_nested_class_or_def=True,
        split_before_expression_after_opening_paren=True,
    )
    return FormatCode(statement, style_config=style)[0]


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
