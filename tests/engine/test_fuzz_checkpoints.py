"""Damaged and forged checkpoints: loaded or refused in one line, and no code of theirs runs."""

import io
import os
import zipfile
from functools import cache
from numbers import Integral
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmengine.logging import HistoryBuffer

from rankdet.engine.errors import UserError
from rankdet.engine.preflight import read_checkpoint
from tests.untrusted.mutations import Damage, damaged

fuzzed = settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))


class Touch:
    """Makes a folder where it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@cache
def checkpoint(zipped: bool) -> bytes:
    history = HistoryBuffer([0.5], [1])
    content = dict(
        state_dict=dict(weight=torch.arange(6.0).reshape(2, 3), bias=torch.zeros(2).half()),
        meta=dict(epoch=1, iter=2, seed=np.uint32(3), dataset_meta=dict(classes=('a', 'b'))),
        message_hub=dict(log_scalars=dict(loss=history), runtime_info=dict(iter=np.int64(2))),
        optimizer=dict(state={0: dict(exp_avg=torch.ones(2))}, param_groups=[dict(lr=0.1)]),
    )
    torch.save(content, file := io.BytesIO(), _use_new_zipfile_serialization=zipped)
    return file.getvalue()


def repacked(content: bytes, member: str, damage: list) -> bytes:
    """With one file inside damaged, and all checksums right."""
    with (
        zipfile.ZipFile(io.BytesIO(content)) as old,
        zipfile.ZipFile(file := io.BytesIO(), 'w') as new,
    ):
        for name in old.namelist():
            data = old.read(name)
            new.writestr(name, damaged(data, damage) if name.endswith(member) else data)
    return file.getvalue()


def read(content: bytes) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, 'epoch_1.pth')
        path.write_bytes(content)
        before = os.getcwd()
        os.chdir(folder)
        try:
            state, meta = read_checkpoint(str(path))
        except UserError as error:
            assert 'epoch_1.pth' in str(error) and '\n' not in str(error)
        else:
            assert all(isinstance(value, torch.Tensor) for value in state.values())
            assert isinstance(meta, dict)
            assert isinstance(meta.get('dataset_meta') or {}, dict)
            assert all(isinstance(meta.get(key) or 0, Integral) for key in ('epoch', 'iter'))
        finally:
            os.chdir(before)
        assert os.listdir(folder) == ['epoch_1.pth']


@fuzzed
@given(Damage, st.booleans())
def test_damaged_files(damage, zipped):
    read(damaged(checkpoint(zipped), damage))


@fuzzed
@given(Damage, st.sampled_from(['data.pkl', 'data/0', 'version', 'byteorder']))
def test_damaged_inside(damage, member):
    read(repacked(checkpoint(True), member, damage))


@pytest.mark.parametrize('zipped', [True, False])
def test_the_sound_file_is_read(tmp_path, zipped):
    (tmp_path / 'epoch_1.pth').write_bytes(checkpoint(zipped))
    state, meta = read_checkpoint(str(tmp_path / 'epoch_1.pth'))
    assert state['weight'].sum() == 15 and meta['seed'] == 3


def test_a_bomb(tmp_path):
    """torch reads compressed files too."""
    torch.save(dict(a=torch.zeros(2_000_000)), tmp_path / 'stored.pth')
    with (
        zipfile.ZipFile(tmp_path / 'stored.pth') as old,
        zipfile.ZipFile(tmp_path / 'bomb.pth', 'w', zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name))
    assert len(torch.load(tmp_path / 'bomb.pth')['a']) == 2_000_000
    read_checkpoint(str(tmp_path / 'stored.pth'))
    refusal = r'^\S+bomb\.pth unpacks to .* times its size.*UNPACKED_RATIO'
    with pytest.raises(UserError, match=refusal):
        read_checkpoint(str(tmp_path / 'bomb.pth'))


@fuzzed
@given(
    st.recursive(
        st.just(Touch('taken')) | st.integers() | st.just(np.float32(1)),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner),
        max_leaves=4,
    ),
    st.sampled_from(['meta', 'state_dict', 'message_hub', 'optimizer', 'else']),
    st.sampled_from([None, 'dataset_meta', 'epoch', 'iter']),
)
def test_forged_files(value, key, fact):
    content = dict(state_dict=dict(a=torch.ones(1)), meta={})
    content |= {'meta': {fact: value}} if fact else {key: value}
    torch.save(content, file := io.BytesIO())
    read(file.getvalue())
