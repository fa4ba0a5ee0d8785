"""Serves ``mmcv._ext`` to ``mmcv.ops`` where mmcv was installed without compiled ops."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NoReturn

EXTENSION = 'mmcv._ext'


class MissingOpError(NotImplementedError):
    """An op was called that needs a compiled mmcv."""


class ExtensionFinder(MetaPathFinder):
    """Finds ``mmcv._ext`` and nothing else. Last on sys.meta_path, so compiled ops win."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == EXTENSION:
            return ModuleSpec(fullname, ExtensionLoader(), origin='rankdet.compat.ops')
        return None


class ExtensionLoader(Loader):
    """Fills the module with rankdet's ops; every other name answers with a clear error."""

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        try:
            from rankdet.compat import ops
        except (ImportError, OSError, RuntimeError) as error:  # what a misfit torchvision raises
            raise ImportError(
                f'mmcv has no compiled ops here and torchvision, which replaces them, does not '
                f'import ({error}). Install torch and torchvision together, so that they fit.',
                name=EXTENSION,
            ) from error
        vars(module).update({name: getattr(ops, name) for name in ops.__all__})
        # mmcv.ops asserts over a hundred names at import, and others in each release.
        vars(module)['__getattr__'] = _unserved


def install_finder() -> None:
    """Append the finder to ``sys.meta_path`` unless it is there."""
    if not any(isinstance(finder, ExtensionFinder) for finder in sys.meta_path):
        sys.meta_path.append(ExtensionFinder())


def _unserved(name: str) -> Callable[..., NoReturn]:
    if name.startswith('__'):  # import machinery and inspect probe for these
        raise AttributeError(f'module {EXTENSION!r} has no attribute {name!r}')

    def op(*args: Any, **kwargs: Any) -> NoReturn:
        raise missing_op(f'op {name!r}')

    op.__name__ = op.__qualname__ = name
    return op


def missing_op(what: str) -> MissingOpError:
    """The error for something that only a compiled mmcv can do."""
    return MissingOpError(
        f'{what} of mmcv is not available: this mmcv has no compiled ops, and rankdet serves from '
        f'torchvision only what box detectors need. Compile mmcv (needs a C++ compiler, and nvcc '
        f'for a GPU): {compile_command()}'
    )


def compile_command() -> str:
    """The pip command that replaces the installed mmcv by the same release with compiled ops."""
    names = importlib.metadata.packages_distributions().get('mmcv', ['onedl-mmcv'])
    installed = names[0]
    # The original project publishes the release without ops under a name of its own.
    source = 'mmcv' if installed == 'mmcv-lite' else installed
    try:
        source_release = f'{source}=={importlib.metadata.version(installed)}'
    except importlib.metadata.PackageNotFoundError:
        source_release = source
    removal = f'pip uninstall -y {installed} && ' if source != installed else ''
    # Without --no-build-isolation the build sees no torch and skips the ops in silence;
    # without --no-cache-dir pip reuses the wheel that it built that way before.
    return (
        f'{removal}pip install --no-build-isolation --no-cache-dir --no-deps --force-reinstall '
        f'--no-binary {source} {source_release}'
    )
