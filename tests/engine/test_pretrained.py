"""Where a backbone's weights come from, on files and addresses of this machine alone."""

import hashlib
import http.server
import logging
import threading
from functools import partial

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from mmengine.config import Config
from torch import nn

from rankdet.engine import pretrained
from rankdet.engine.errors import UserError, explain
from rankdet.engine.pretrained import (
    download,
    prepare_backbones,
    pretrained_weights,
    start_at_random,
)

NAME, FILE = 'torchvision://resnet18', 'resnet18-f37072fd.pth'
NOWHERE = 'http://127.0.0.1:9/weights-0.pth'  # the discard port: refused at once


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """An empty cache of downloads, no variable set."""
    register_all_modules(init_default_scope=True)
    monkeypatch.delenv('BACKBONES', raising=False)
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))


def backbone(**options):
    return dict(
        type='ResNet',
        depth=18,
        base_channels=8,
        norm_cfg=dict(type='BN', requires_grad=False),
        frozen_stages=1,
        **options,
    )


def config(checkpoint=NAME):
    init_cfg = dict(type='Pretrained', checkpoint=checkpoint)
    return Config(dict(model=dict(type='RetinaNet', backbone=backbone(init_cfg=init_cfg))))


def save(path, value=0.5):
    state = MODELS.build(backbone()).state_dict()
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({key: torch.full_like(tensor, value) for key, tensor in state.items()}, path)


# --- names -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('name', 'file'),
    [
        (NAME, FILE),
        ('open-mmlab://detectron/resnet50_caffe', 'resnet50_caffe-788b5fa3.pth'),
        ('open-mmlab://resnet50_caffe', 'resnet50_caffe-788b5fa3.pth'),  # its old name
        ('mmcls://vgg11', 'vgg11_batch256_imagenet_20210208-4271cd6c.pth'),
        ('https://example.org/a/b-1.pth', 'b-1.pth'),
    ],
)
def test_addresses(name, file):
    [found] = pretrained_weights(config(name))
    assert (found.where, found.name, found.file) == ('model.backbone', name, file)
    assert found.url.startswith('https://') and found.url.endswith(f'/{file}')


def test_a_local_file_has_no_address():
    [found] = pretrained_weights(config('some/where.pth'))
    assert (found.url, found.file) == (None, 'where.pth')


def test_a_model_without_pretrained_weights():
    cfg = Config(dict(model=dict(type='RetinaNet', backbone=backbone(), neck=[dict(a=1)])))
    assert pretrained_weights(cfg) == []
    before = cfg.pretty_text
    prepare_backbones(cfg, 'some/folder')
    assert cfg.pretty_text == before


def test_unknown_names_are_refused():
    with pytest.raises(UserError, match=r'resnet50_cafe is not in .*nearest: .*resnet50_caffe'):
        prepare_backbones(config('open-mmlab://detectron/resnet50_cafe'))


# --- from a folder -----------------------------------------------------------------------------


@pytest.mark.parametrize('by_variable', [True, False])
def test_weights_from_a_folder_reach_the_model(by_variable, tmp_path, monkeypatch):
    save(tmp_path / 'kept' / FILE)
    cfg = config()
    if by_variable:
        monkeypatch.setenv('BACKBONES', str(tmp_path / 'kept'))
    prepare_backbones(cfg, None if by_variable else str(tmp_path / 'kept'))
    model = MODELS.build(cfg.model.backbone)
    model.init_weights()
    assert all(
        (value == 0.5).all() for key, value in model.state_dict().items() if 'num' not in key
    )
    assert cfg.model.backbone.frozen_stages == 1


def test_a_folder_without_the_file(tmp_path):
    with pytest.raises(UserError) as raised:
        prepare_backbones(config(), str(tmp_path))
    line = explain(raised.value)
    assert '\n' not in line
    for fact in (
        *('model.backbone', NAME, str(tmp_path), FILE, 'https://download.pytorch.org/models/'),
        *('model.backbone.init_cfg.checkpoint=FILE, in the config or with', 'BACKBONES=none'),
    ):
        assert fact in line


def test_a_file_that_was_cut_short(tmp_path):
    save(tmp_path / FILE)
    content = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match='no readable checkpoint'):
        prepare_backbones(config(), str(tmp_path))


def test_a_file_of_junk(tmp_path):
    (tmp_path / FILE).write_bytes(b'\xdejunk')
    with pytest.raises(UserError, match=f'{FILE} is no readable checkpoint.*: it was cut short'):
        prepare_backbones(config(), str(tmp_path))
    with pytest.raises(UserError, match='no readable checkpoint'):
        prepare_backbones(config(str(tmp_path / FILE)))


def test_a_file_in_the_config_is_not_looked_up_elsewhere(tmp_path):
    save(tmp_path / 'own.pth')
    cfg = config(str(tmp_path / 'own.pth'))
    prepare_backbones(cfg, str(tmp_path / 'other'))
    assert cfg.model.backbone.init_cfg.checkpoint == str(tmp_path / 'own.pth')
    with pytest.raises(UserError, match=r'gone\.pth, which does not exist'):
        prepare_backbones(config(str(tmp_path / 'gone.pth')))


# --- from the network --------------------------------------------------------------------------


def test_out_of_reach():
    with pytest.raises(UserError) as raised:
        prepare_backbones(config(NOWHERE))
    line = explain(raised.value)
    assert '\n' not in line
    for fact in (NOWHERE, 'weights-0.pth', 'refused', 'BACKBONES=FOLDER', 'BACKBONES=none'):
        assert fact in line


def test_a_cached_download_needs_no_network(tmp_path):
    save(tmp_path / 'hub' / 'checkpoints' / 'weights-0.pth')
    cfg = config(NOWHERE)
    prepare_backbones(cfg)
    assert cfg.model.backbone.init_cfg.checkpoint == NOWHERE
    (tmp_path / 'hub' / 'checkpoints' / 'weights-0.pth').write_bytes(b'\xdejunk')
    with pytest.raises(UserError, match='no readable checkpoint'):
        prepare_backbones(cfg)


@pytest.fixture
def server(tmp_path):
    save(tmp_path / 'served' / 'small-1.pth')
    handler = type('Quiet', (http.server.SimpleHTTPRequestHandler,), dict(log_message=_silent))
    handler = partial(handler, directory=str(tmp_path / 'served'))
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}'
    server.shutdown()
    server.server_close()


def _silent(*args):
    pass


def test_download_then_train_without_network(server, tmp_path):
    cfg = config(f'{server}/small-1.pth')
    prepare_backbones(cfg)  # within reach
    [weights] = pretrained_weights(cfg)
    path = download(weights, tmp_path / 'new' / 'folder')
    assert path.read_bytes() == (tmp_path / 'served' / 'small-1.pth').read_bytes()
    prepare_backbones(cfg, str(tmp_path / 'new' / 'folder'))
    assert cfg.model.backbone.init_cfg.checkpoint == str(path)
    with pytest.raises(UserError, match=r'cannot be reached .*404'):
        prepare_backbones(config(f'{server}/missing.pth'))
    with pytest.raises(UserError, match=r'cannot be downloaded: .*404'):
        download(weights._replace(url=f'{server}/missing.pth', file='missing.pth'), tmp_path)
    assert not (tmp_path / 'missing.pth').exists()


def test_a_download_that_is_not_what_its_name_says(server, tmp_path):
    served = tmp_path / 'served'
    digest = hashlib.sha256((served / 'small-1.pth').read_bytes()).hexdigest()[:8]
    for name in (f'net-{digest}.pth', 'net-0123abcd.pth'):
        (served / name).write_bytes((served / 'small-1.pth').read_bytes())
    [good] = pretrained_weights(config(f'{server}/net-{digest}.pth'))
    assert download(good, tmp_path / 'new').name == good.file
    [bad] = pretrained_weights(config(f'{server}/net-0123abcd.pth'))
    with pytest.raises(UserError, match=r'SHA-256 does not begin with 0123abcd; download it again'):
        download(bad, tmp_path / 'new')
    assert not (tmp_path / 'new' / bad.file).exists()
    save(tmp_path / 'new' / bad.file)  # somebody's: refused, and left alone
    with pytest.raises(UserError, match='delete it and download it again'):
        download(bad, tmp_path / 'new')
    assert (tmp_path / 'new' / bad.file).exists()


# --- random weights ----------------------------------------------------------------------------


def frozen(model):
    model.train()
    parameters = [key for key, p in model.named_parameters() if not p.requires_grad]
    norms = [key for key, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)]
    return parameters + [key for key in norms if not model.get_submodule(key).training]


def test_nothing_stays_frozen_without_pretrained_weights():
    cfg = config(NOWHERE)
    assert frozen(MODELS.build(cfg.model.backbone | dict(init_cfg=None)))
    prepare_backbones(cfg, 'none')
    model = MODELS.build(cfg.model.backbone)
    model.init_weights()
    assert not frozen(model)
    assert model.conv1.weight.std() > 0


@pytest.mark.parametrize('kind', ['ResNeXt', 'SSDVGG'])
def test_other_backbones_at_random(kind):
    part = dict(type=kind, depth=101) if kind == 'ResNeXt' else dict(type=kind, depth=16)
    part['init_cfg'] = dict(type='Pretrained', checkpoint=NOWHERE)
    cfg = Config(dict(model=dict(backbone=part)))
    start_at_random(cfg)
    own = dict(frozen_stages=-1, norm_eval=False) if kind == 'ResNeXt' else {}
    assert cfg.model.backbone == dict(part, init_cfg=None, **own)
    with torch.device('meta'):
        MODELS.build(cfg.model.backbone)  # takes them all


@pytest.mark.parametrize(
    ('change', 'warns'),
    [
        (dict(), True),
        (dict(frozen_stages=-1), True),  # batch norm is frozen still
        (dict(frozen_stages=-1, norm_cfg=dict(type='BN')), False),
    ],
)
def test_frozen_random_weights_are_warned_of(change, warns, monkeypatch):
    said = []
    monkeypatch.setattr(pretrained, 'print_log', lambda text, *_: said.append((text, *_)))
    prepare_backbones(Config(dict(model=dict(backbone={**backbone(), **change}))))
    assert bool(said) == warns
    assert not said or ('BACKBONES=none' in said[0][0] and said[0][-1] == logging.WARNING)
