import json
import shutil

import pytest
import torch

from tests.engine import tiny
from tests.engine.tiny import digits  # noqa: F401
from tests.tools import cli

torch.set_num_threads(1)


@pytest.fixture(scope='session')
def trained(digits, tmp_path_factory):  # noqa: F811
    """The folder of a short run: epoch_1.pth and its log."""
    cfg = tiny.load(digits, tmp_path_factory.mktemp('trained') / 'run', train_cfg__max_epochs=1)
    return tiny.train(cfg)


@pytest.fixture(scope='session')
def checkpoint(trained):
    return trained / 'epoch_1.pth'


@pytest.fixture
def config(digits, tmp_path):  # noqa: F811
    """The tiny config as a file, on data that all tests share."""
    return tiny.write(tmp_path / 'config.py', digits)


@pytest.fixture
def own_data(digits, tmp_path):  # noqa: F811
    """A copy of the data that a test may spoil."""
    return shutil.copytree(digits, tmp_path / 'data')


@pytest.fixture
def tool(monkeypatch, capsys, tmp_path):
    """Run a tool in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda name, *arguments: cli.run_inside(monkeypatch, capsys, name, *arguments)


@pytest.fixture
def edit_json():
    def edit(path, change):
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return edit
