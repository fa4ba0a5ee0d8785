"""What old releases of mmengine get wrong with current torch and setuptools."""

import os
import pickle
from pathlib import Path
from unittest.mock import Mock

import mmengine
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from mmengine.runner import load_checkpoint
from mmengine.utils import package_utils
from yapf.yapflib import yapf_api

import rankdet.compat

rankdet.compat.install()

from rankdet.compat import quirks  # noqa: E402
from rankdet.compat.checkpoint_globals import checkpoint_globals  # noqa: E402

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
new_torch = pytest.mark.skipif(torch.__version__ < (2, 6), reason='torch loads any pickle here')


@pytest.fixture
def checkpoint(tmp_path):
    """A file with what mmengine writes: weights, log history, numpy values."""
    history = HistoryBuffer([0.5, 0.25], [1, 2])
    history.update(np.float64(0.125))
    runtime = dict(seed=np.uint32(7), mean=np.float64(2), flags=np.array([True]))
    state = dict(weight=torch.ones(2, 3), bias=torch.zeros(2))
    path = tmp_path / 'epoch_1.pth'
    torch.save(
        dict(state_dict=state, message_hub=dict(log_scalars={'loss': history}, runtime=runtime)),
        path,
    )
    return str(path)


def test_own_checkpoint_loads(checkpoint):
    loaded = load_checkpoint(torch.nn.Linear(3, 2), checkpoint)
    hub = loaded['message_hub']
    assert hub['log_scalars']['loss'].mean() == (0.5 + 0.25 + 0.125) / 4
    assert hub['runtime'] == dict(seed=7, mean=2.0, flags=[True])


@new_torch
def test_allowed_globals_suffice(checkpoint):
    with torch.serialization.safe_globals(checkpoint_globals()):
        loaded = torch.load(checkpoint, weights_only=True)
    assert loaded['message_hub']['log_scalars']['loss'].current() == 0.125


class Attribute:
    """Pickles as ``getattr(owner, name)``."""

    def __init__(self, owner, name):
        self.call = getattr, (owner, name)

    def __reduce__(self):
        return self.call


@new_torch
@pytest.mark.parametrize(
    ('owner', 'name'),
    [(HistoryBuffer, '__init__'), (HistoryBuffer, 'nothing'), (np.ndarray, 'mean')],
)
def test_allowed_globals_open_no_door(tmp_path, owner, name):
    torch.save(Attribute(owner, name), tmp_path / 'odd.pth')
    with (
        torch.serialization.safe_globals(checkpoint_globals()),
        pytest.raises((pickle.UnpicklingError, ValueError), match=f'attribute {name!r}'),
    ):
        torch.load(tmp_path / 'odd.pth', weights_only=True)


@pytest.mark.parametrize('name', ['mmengine', 'mmcv', 'mmdet'])
def test_installed_path(name):
    module = __import__(name)
    assert quirks.get_installed_path(name) == os.path.dirname(module.__file__)
    assert quirks.is_installed(name)


def test_path_of_what_is_not_installed():
    assert not quirks.is_installed('no_such_package')
    with pytest.raises(ImportError, match="'no_such_package' is not installed"):
        quirks.get_installed_path('no_such_package')


def test_pkg_resources_is_replaced_only_where_it_lacks(monkeypatch):
    def get_installed_path(package):
        import pkg_resources  # noqa: F401  as mmengine 0.10.7 does

    def is_installed(package):
        return 'a release that needs no pkg_resources'

    for module in (package_utils, mmengine.utils, mmengine.config.config):
        monkeypatch.setattr(module, 'get_installed_path', get_installed_path)
    monkeypatch.setattr(package_utils, 'is_installed', is_installed)

    monkeypatch.setattr(quirks.importlib.util, 'find_spec', lambda name: object())
    quirks._live_without_pkg_resources()
    assert package_utils.get_installed_path is get_installed_path

    monkeypatch.setattr(quirks.importlib.util, 'find_spec', lambda name: None)
    quirks._live_without_pkg_resources()
    assert package_utils.get_installed_path is quirks.get_installed_path
    assert mmengine.utils.get_installed_path is quirks.get_installed_path
    assert mmengine.config.config.get_installed_path is quirks.get_installed_path
    assert package_utils.is_installed is is_installed


def test_config_inherits_from_the_host(tmp_path):
    path = tmp_path / 'config.py'
    path.write_text("_base_ = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'\n")
    assert mmengine.Config.fromfile(path).model.type == 'RetinaNet'


def test_configs_are_formatted_once_and_as_mmengine_does(monkeypatch):
    """Against mmengine's own property, which formats the whole text."""
    own = Config.pretty_text.fget
    (original,) = (cell.cell_contents for cell in own.__closure__)
    assert original.__module__ == 'mmengine.config.config'
    counted = Mock(wraps=yapf_api.FormatCode)
    monkeypatch.setattr(yapf_api, 'FormatCode', counted)
    quirks._formatted.cache_clear()
    odd = {'a': 1, 'c': {'d.e': ['x' * 100, ("\n'", 'y' * 50)], 'f': None}}
    for path in [*sorted(CONFIGS.rglob('*.py'))[::40], odd]:
        cfg = Config(path) if isinstance(path, dict) else Config.fromfile(path)
        expected = original(cfg)
        assert counted.call_count > 0
        counted.reset_mock()
        assert cfg.pretty_text == expected
        counted.reset_mock()
        assert cfg.pretty_text == expected and counted.call_count == 0
        object.__setattr__(cfg, '_format_python_code', False)
        assert cfg.pretty_text == original(cfg) and counted.call_count == 0


def test_a_config_that_cannot_be_formatted():
    with pytest.raises(SyntaxError, match='Failed to format'):
        Config({'a-b': object()}).pretty_text  # noqa: B018


# --- numpy's part of the list opens no door into memory ---------------------------------------


class Call:
    """Pickles as a call."""

    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


FORGED = [
    Call(np.ndarray, ((1,), 'O', bytes(8))),  # objects at addresses that the file chooses
    Call(np.ndarray, ((1,), 'f8', bytes(8))),
    Call(np.dtype, ('O',)),
    Call(np.dtype, ('V8',)),
    Call(np.dtype, ('O,f8',)),
    Call(np.float64().__reduce__()[0], (Call(np.dtype, ('O',)), bytes(8))),
]


@new_torch
@pytest.mark.parametrize('forged', FORGED, ids=range(len(FORGED)))
def test_numpy_makes_numbers_only(tmp_path, forged):
    torch.save(forged, tmp_path / 'odd.pth')
    with (
        torch.serialization.safe_globals(checkpoint_globals()),
        pytest.raises((pickle.UnpicklingError, ValueError), match='not loaded'),
    ):
        torch.load(tmp_path / 'odd.pth', weights_only=True)


@new_torch
@pytest.mark.parametrize('code', 'biuf')
def test_a_type_of_numbers_cannot_be_changed(tmp_path, code):
    """A state that makes objects of a copy does nothing to numpy's own."""
    forged = (3, '>', None, ('a',), {'a': (np.dtype('i1'), 0)}, 8, 8, 1)
    torch.save(Call(np.dtype, (f'{code}1' if code == 'b' else f'{code}8',), forged), tmp_path / 'f')
    with torch.serialization.safe_globals(checkpoint_globals()):
        kind = torch.load(tmp_path / 'f', weights_only=True)
    assert kind.isnative and kind.names is None and not kind.hasobject and kind.flags == 0


@pytest.mark.parametrize(
    'value',
    [np.float32(2.5), np.int64(-3), np.bool_(True), np.arange(6.0).reshape(2, 3), np.zeros(0)],
    ids=repr,
)
def test_numbers_come_back_as_they_were(tmp_path, value):
    torch.save(value, tmp_path / 'value')
    with torch.serialization.safe_globals(checkpoint_globals()):
        loaded = torch.load(tmp_path / 'value', weights_only=True)
    assert type(loaded) is type(value) and loaded.dtype == value.dtype
    assert np.array_equal(loaded, value)
