"""The finder serves mmcv._ext where nothing else does, and says so clearly where it can't."""

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import rankdet.compat
from rankdet.compat import finder, host

rankdet.compat.install()

import mmcv._ext  # noqa: E402
import mmcv.ops  # noqa: E402

ROOT = Path(__file__).parents[2]
served = pytest.mark.skipif(
    not isinstance(mmcv._ext.__spec__.loader, finder.ExtensionLoader),
    reason='mmcv has its compiled ops here',
)


def run(code: str, *paths: Path) -> subprocess.CompletedProcess:
    """Run code in a fresh interpreter that looks at ``paths`` before anything installed."""
    search = os.pathsep.join(map(str, [*paths, ROOT]))
    return subprocess.run(
        [sys.executable, '-c', code],
        env={**os.environ, 'PYTHONPATH': search, 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
    )


def fake_package(folder: Path, name: str, **modules: str) -> Path:
    (folder / name).mkdir(parents=True)
    for module, code in {'__init__': '', **modules}.items():
        (folder / name / f'{module}.py').write_text(code)
    return folder


def test_import_of_compat_needs_no_host():
    code = """
import sys, rankdet.compat
heavy = {name.split('.')[0] for name in sys.modules}
assert not heavy & {'mmengine', 'mmcv', 'mmdet', 'torchvision', 'cv2'}, heavy
"""
    result = run(code)
    assert result.returncode == 0, result.stderr


def test_fresh_process_imports_the_host_and_installs_once():
    code = """
import sys, rankdet.compat
rankdet.compat.install()
rankdet.compat.install()
import mmdet.models, mmdet.datasets, mmdet.evaluation, mmdet.engine
from rankdet.compat.finder import ExtensionFinder
assert sum(isinstance(f, ExtensionFinder) for f in sys.meta_path) == 1
from mmcv.utils import collect_env
assert isinstance(collect_env()['MMCV Compiler'], str)
"""
    result = run(code)
    assert result.returncode == 0, result.stderr


def test_compiled_ops_win(tmp_path):
    fake_package(tmp_path, 'mmcv', _ext='compiled = True')
    code = """
from rankdet.compat.finder import install_finder
install_finder()
import mmcv._ext
assert mmcv._ext.compiled and not hasattr(mmcv._ext, 'nms')
"""
    result = run(code, tmp_path)
    assert result.returncode == 0, result.stderr


def test_broken_compiled_ops_are_not_hidden(tmp_path):
    fake_package(tmp_path, 'mmcv', _ext="raise ImportError('undefined symbol: _ZN2at')")
    code = 'from rankdet.compat.finder import install_finder; install_finder(); import mmcv._ext'
    result = run(code, tmp_path)
    assert result.returncode == 1
    assert 'undefined symbol: _ZN2at' in result.stderr


def test_misfit_torchvision_is_named(tmp_path):
    fake_package(tmp_path, 'mmcv')
    error = "raise RuntimeError('operator torchvision::nms does not exist')"
    fake_package(tmp_path / 'broken', 'torchvision', __init__=error)
    code = 'from rankdet.compat.finder import install_finder; install_finder(); import mmcv._ext'
    result = run(code, tmp_path, tmp_path / 'broken')
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert 'torchvision::nms does not exist' in last
    assert 'Install torch and torchvision together' in last


def test_serves_no_other_module():
    assert finder.ExtensionFinder().find_spec('mmcv._extra') is None
    assert finder.ExtensionFinder().find_spec('mmcv') is None


@served
def test_unserved_op_names_itself_and_the_remedy():
    boxes = torch.tensor([[5.0, 5.0, 4.0, 2.0, 0.1]])
    with pytest.raises(NotImplementedError, match=r"'nms_rotated'.*pip install .*--no-binary"):
        mmcv.ops.nms_rotated(boxes, torch.ones(1), 0.5)


@served
def test_max_pooled_roi_align_is_refused():
    align = mmcv.ops.RoIAlign(2, pool_mode='max')
    with pytest.raises(NotImplementedError, match=r"roi_align.*pool_mode='max'.*pip install"):
        align(torch.ones(1, 1, 4, 4), torch.tensor([[0.0, 0.0, 0.0, 2.0, 2.0]]))


@served
def test_dunder_names_are_not_ops():
    assert not hasattr(mmcv._ext, '__wrapped__')


@pytest.mark.parametrize(
    ('distributions', 'expected'),
    [
        (
            {'onedl-mmcv': '2.3.6'},
            'pip install --no-build-isolation --no-cache-dir --no-deps --force-reinstall '
            '--no-binary onedl-mmcv onedl-mmcv==2.3.6',
        ),
        (
            {'mmcv-lite': '2.1.0'},
            'pip uninstall -y mmcv-lite && pip install --no-build-isolation --no-cache-dir '
            '--no-deps --force-reinstall --no-binary mmcv mmcv==2.1.0',
        ),
        (
            {},  # mmcv lies on the path, but no distribution owns it
            'pip install --no-build-isolation --no-cache-dir --no-deps --force-reinstall '
            '--no-binary onedl-mmcv onedl-mmcv',
        ),
    ],
)
def test_compile_command(monkeypatch, distributions, expected):
    def version(name):
        if name not in distributions:
            raise importlib.metadata.PackageNotFoundError(name)
        return distributions[name]

    owners = {'mmcv': list(distributions)} if distributions else {}
    monkeypatch.setattr(importlib.metadata, 'packages_distributions', lambda: owners)
    monkeypatch.setattr(importlib.metadata, 'version', version)
    assert finder.compile_command() == expected


def test_missing_host_is_named(monkeypatch):
    monkeypatch.setattr(
        host.importlib.util, 'find_spec', lambda name: None if name == 'mmcv' else object()
    )
    with pytest.raises(ImportError, match=r'mmcv is not installed: pip install onedl-mmengine'):
        host.check_host()


def test_opencv_that_does_not_load_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'cv2', None)
    with pytest.raises(ImportError, match=r'OpenCV does not load .*opencv-python-headless'):
        host.check_host()
