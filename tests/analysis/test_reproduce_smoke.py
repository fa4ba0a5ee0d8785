"""One row of every kind of detector, loss and data set runs from end to end; faults are seen."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from torch import nn

import rankdet.plugin  # noqa: F401, before any import of MMDetection
from rankdet.analysis.paper_tables import Row, find_rows, read_papers
from rankdet.analysis.reproduce import smoke, tiny_run
from rankdet.analysis.reproduce.plan import environment, plan
from rankdet.analysis.reproduce.smoke import progress, smoke_all, smoke_training
from rankdet.analysis.reproduce.tiny_run import GradientWatch
from rankdet.engine.errors import UserError
from tests.engine import tiny
from tests.engine.tiny import digits  # noqa: F401

ROOT = Path(__file__).parents[2]
SIDE = 64
KIND = re.compile(
    r'(?P<detector>[^_]+)_(?P<backbone>[^_]+)_((fpn|mapper)_)?(?P<loss>[^_]+)_.*_'
    r'(?P<data>voc|coco|digits)'
)


def kinds():
    """Kind to the row with the smallest network that trains it."""
    found = {}
    for row in find_rows(read_papers(ROOT / 'configs'), ['all']):
        if row.config and not row.options:
            name = KIND.match(Path(row.config).stem)
            kind = f'{name["detector"]} {name["loss"]} {name["data"]}'
            found.setdefault(kind, []).append((len(name['backbone']), name['backbone'], row))
    return {kind: min(rows, key=lambda item: item[:2])[2] for kind, rows in found.items()}


KINDS = kinds()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr('rankdet.compat.quirks.formatted', '{}\n'.format)
    torch.set_num_threads(1)
    for name in ('_BATCH', '_TESTED'):
        monkeypatch.setattr(tiny_run, name, 1)
    # Random numbers that most layers replace by those of their init_cfg.
    for kind in (nn.modules.conv._ConvNd, nn.Linear):
        monkeypatch.setattr(kind, 'reset_parameters', zeros)


def zeros(layer):
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


@pytest.fixture(scope='module')
def tiny_data(tmp_path_factory):
    return tiny_run.make_tiny_data(tmp_path_factory.mktemp('tiny'))


def test_the_tables_have_their_kinds():
    losses = {kind.split()[1] for kind in KINDS}
    assert {'ap-loss', 'alrp-loss', 'dr-loss', 'focal', 'ohem', 'auc-loss'} <= losses
    assert {kind.split()[0] for kind in KINDS} >= {'retinanet', 'ssd512', 'foveabox', 'faster-rcnn'}


@pytest.mark.parametrize('kind', KINDS)
def test_a_row_of_every_kind(kind, tiny_data, tmp_path):
    (training,) = plan([KINDS[kind]])
    with environment(tiny_data):
        found = smoke_training(training, ROOT, tmp_path / 'run', SIDE, iterations=1)
    assert found['iterations'] >= 1 and found['losses']['loss'] > 0
    assert found['tests'][0].get('measured') or found['tests'][0].get('packed')


def test_a_row_of_perturbed_images(tiny_data, tmp_path):
    (row,) = find_rows(read_papers(ROOT / 'configs'), ['ap_loss/table-3/ap'])
    (training,) = plan([row])
    with environment(tiny_data):
        found = smoke_training(training, ROOT, tmp_path / 'run', SIDE, iterations=1)
    assert found['tests'][0]['measured'] == list(row.columns)


# --- faults, on a network that is small ------------------------------------------------------


@pytest.fixture
def small(digits, tmp_path):  # noqa: F811
    """A folder of configs with one small network, and its row."""
    folder = tmp_path / 'configs' / 'one'
    folder.mkdir(parents=True)
    tiny.write(folder / 'net.py', digits)
    row = Row('one', 't', 'a', 'a', model='net', config='configs/one/net.py', columns=('AP',))
    return tmp_path, row


def smoke_small(small, **changes):
    root, row = small
    (training,) = plan([replace(row, **changes)])
    return smoke_training(training, root, root / 'run', SIDE)


def test_what_is_recorded(small):
    found = smoke_small(small)
    assert found['iterations'] == 2
    assert set(found['losses']) == {'loss', 'loss_cls', 'loss_bbox'}
    assert found['image_scale'] == pytest.approx(SIDE / 96, abs=1e-3)
    assert found['tests'] == [dict(rows=['one/t/a'], options=[], tta=False, measured=['AP'])]


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(columns=('AP', 'oLRP')), 'one/t/a: the test measures no oLRP'),
        (dict(tta=True), 'has no tta_pipeline'),
        (dict(options={'model.bbox_head.loss_cls.delta': -1.0}), 'delta'),
        (dict(options={'optim_wrapper.optimizer.lr': 1e38}), 'auto_scale_lr.base_batch_size'),
        (
            dict(options={'auto_scale_lr.base_batch_size': 8, 'optim_wrapper.optimizer.lr': 1e38}),
            'finite',
        ),
        (dict(options={'model.bbox_head.loss_bbox.loss_weight': 0.0}), None),
        (dict(test_options={'model.bbox_head.num_classes': 3}), '10'),
    ],
)
def test_a_fault_is_seen(small, changes, message):
    if message is None:
        assert smoke_small(small, **changes)['losses']['loss_bbox'] == 0
        return
    with pytest.raises(Exception, match=message):
        smoke_small(small, **changes)


def test_one_after_the_other_in_processes(small, monkeypatch):
    """The good one, one that fails, and one that dies; then nothing is left of them."""
    root, row = small
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    monkeypatch.setenv('TMPDIR', str(root))
    monkeypatch.setattr('tempfile.tempdir', str(root))
    bad = replace(row, name='b', options={'model.bbox_head.loss_cls.delta': -1.0})
    dead = replace(row, name='c', config='configs/one/dead.py')
    text = (root / 'configs/one/net.py').read_text()
    (root / 'configs/one/dead.py').write_text(f'import os\n{text}\nos._exit(9)')
    out = root / 'record' / 'smoke.jsonl'
    lines = list(smoke_all([row, bad, dead, replace(row, config=None)], root, out, side=SIDE))
    assert [line['state'] for line in lines] == ['ok', 'failed', 'failed']
    assert 'delta' in lines[1]['error'] and 'died with status 9' in lines[2]['error']
    assert 0 < lines[0]['memory_gb'] < smoke.MOST_GB and lines[0]['seconds'] > 0
    head, *written = map(json.loads, out.read_text().splitlines())
    assert written == lines and head['trainings'] == 3 and head['side'] == SIDE
    assert not list(root.glob('rankdet-smoke-*'))
    texts = list(progress(lines, 3))
    assert texts[0].startswith('1/3  ok      net  (') and 'min left' in texts[0]
    assert 'died with status 9' in texts[2] and 'left' not in texts[2]


def test_an_interrupted_smoke_goes_on(small, monkeypatch):
    root, row = small
    monkeypatch.setattr(smoke, 'commit', lambda root: 'abc')
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    tried = []

    def try_it(context, training, *arguments):
        tried.append(training.name)
        return dict(training=training.name, state='ok' if training.name == 'net' else 'failed')

    monkeypatch.setattr(smoke, '_in_a_process', try_it)
    rows = [row, replace(row, name='b', options={'a': 1})]
    for _ in range(2):
        assert len(list(smoke_all(rows, root, root / 'smoke.jsonl', side=SIDE))) == 2
    assert len(tried) == 3 and tried[0] == 'net' and tried[1] == tried[2]
    monkeypatch.setattr(smoke, 'commit', lambda root: 'abc-dirty')
    list(smoke_all(rows, root, root / 'smoke.jsonl', side=SIDE))
    assert len(tried) == 5


def test_a_pipeline_is_shrunk_by_one_factor():
    cfg = Config.fromfile(ROOT / KINDS['retinanet dr-loss coco'].config)
    assert tiny_run.shrink(cfg, 200) == pytest.approx(0.15, abs=0.01)
    steps = cfg.test_dataloader.dataset.pipeline
    assert [max(step.scale) for step in steps if 'scale' in step] == [200]
    cfg = Config.fromfile(ROOT / KINDS['ssd512 ap-loss voc'].config)
    tiny_run.shrink(cfg, 64)
    steps = cfg.test_dataloader.dataset.pipeline
    assert [tuple(step.scale) for step in steps if 'scale' in step] == [(288, 288)]


def test_a_parameter_without_a_gradient_is_seen():
    watch = GradientWatch()
    with pytest.raises(UserError, match='losses must be finite, got none'):
        smoke._check(watch)
    watch.losses = dict(loss=1.0)
    smoke._check(watch)
    watch.unmoved = {'neck.weight'}
    with pytest.raises(UserError, match=r'no gradient for ..neck.weight.. .1 parameters'):
        smoke._check(watch)
