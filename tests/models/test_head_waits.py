"""Heads that rank wait for nothing on a GPU: they compare the boxes of all rows instead."""

import pytest
import torch
from builders import ATSS, DENSE, LOSSES, bbox_head, build, features, retina, total, truth
from mmdet.models.losses import GIoULoss
from torch.utils._pytree import tree_map_only

from rankdet.models import ranking_core
from rankdet.models.host_constants import ConstantsMadeOnDevice
from tests.host_waits import HostWaits

RANKING = [name for name in LOSSES if name not in ('focal', 'ohem')]
BOX_LOSSES = ['IoULoss', 'GIoULoss', 'DIoULoss', 'CIoULoss', 'EIoULoss', 'SIoULoss']
CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')


def dense_scene(kind, loss_cls, loss_bbox, counts=(3, 2), device='cpu'):
    """A call that computes the losses on given targets, and the leaves that get gradients."""
    head = build(DENSE[kind](loss_cls, loss_bbox))
    instances, metas = truth(counts, head.num_classes)
    with torch.no_grad():
        outs = head(features(len(counts)))
    head.loss_by_feat(*outs, instances, metas)  # keeps what the host makes once
    told = [_remember(head, name) for name in ('get_targets', 'get_anchors') if hasattr(head, name)]
    head.loss_by_feat(*outs, instances, metas)
    if kind == 'fovea':  # points stand for anchors
        told.append(_remember(head.prior_generator, 'grid_priors'))
        head.loss_by_feat(*outs, instances, metas)
    for said in told:
        said[:] = tree_map_only(torch.Tensor, lambda x: x.to(device), said)
    head.to(device)
    leaves = [[m.detach().to(device).requires_grad_() for m in maps] for maps in outs]
    return lambda: head.loss_by_feat(*leaves, instances, metas), [*leaves[0], *leaves[1]]


def _remember(owner, name):
    """The assignment is the host's, and not looked at here: what it said once it says again."""
    said: list = []
    original = getattr(owner, name)

    def method(*args, **options):
        if not said:
            said.append(original(*args, **options))
        return said[0]

    setattr(owner, name, method)
    return said


def box_scene(loss_cls, loss_bbox, agnostic=False, num_positives=6, device='cpu'):
    """The same for proposals."""
    classes = 16  # with fewer DR Loss has no kernels for proposals
    head = build(bbox_head(loss_cls, loss_bbox, classes, agnostic)).to(device)
    generator = torch.Generator().manual_seed(1)
    rows = 20
    corner = 40 * torch.rand(rows, 2, generator=generator)
    rois = torch.cat([corner, corner + 5 + 30 * torch.rand(rows, 2, generator=generator)], 1)
    images = torch.arange(rows)[:, None] // 10
    labels = torch.full((rows,), classes)
    labels[:num_positives] = torch.arange(num_positives) % classes
    targets = torch.randn(rows, 4, generator=generator) * 0.1
    if head.reg_decoded_bbox:
        targets = rois + 3
    targets[num_positives:] = 0
    width = 4 if agnostic else 4 * classes
    leaves = [
        torch.randn(rows, channels, generator=generator).to(device).requires_grad_()
        for channels in (head.cls_out_channels, width)
    ]
    rest = torch.cat([images, rois], 1), labels, torch.ones(rows), targets, torch.ones(rows, 4)
    rest = [x.to(device) for x in rest]
    return lambda: head.loss(*leaves, *rest), leaves


def outcome(scene):
    losses, leaves = scene
    found = losses()
    gradients = torch.autograd.grad(total(found), leaves, allow_unused=True)
    return found, gradients


def assert_same(scene, monkeypatch):
    values, gradients = outcome(scene)
    monkeypatch.setattr(ranking_core, 'counting_waits', lambda *_: True)
    others, other_gradients = outcome(scene)
    assert values.keys() == others.keys()
    for name in values:
        torch.testing.assert_close(others[name], values[name], rtol=1e-6, atol=1e-7)
    for mine, other in zip(other_gradients, gradients):
        assert mine.isfinite().all()
        torch.testing.assert_close(mine, torch.zeros_like(mine) if other is None else other,
                                   rtol=1e-5, atol=1e-7)  # fmt: skip


@pytest.mark.parametrize('loss', RANKING)
@pytest.mark.parametrize('kind', DENSE)
@pytest.mark.parametrize('counts', [(3, 2), (0, 2), (0, 0)])
def test_all_rows_give_what_the_positives_give(kind, loss, counts, monkeypatch):
    assert_same(dense_scene(kind, *LOSSES[loss], counts), monkeypatch)


@pytest.mark.parametrize('loss', RANKING)
@pytest.mark.parametrize('agnostic', [False, True])
@pytest.mark.parametrize('num_positives', [6, 0])
def test_all_proposals_give_what_the_positives_give(loss, agnostic, num_positives, monkeypatch):
    assert_same(box_scene(*LOSSES[loss], agnostic, num_positives), monkeypatch)


@pytest.mark.parametrize('box', BOX_LOSSES)
def test_every_measure_of_overlap(box, monkeypatch):
    extra = dict(mode='linear') if box == 'IoULoss' else {}
    assert_same(dense_scene('retina', dict(type='aLRPLoss'), dict(type=box, **extra)), monkeypatch)


def test_a_box_loss_from_elsewhere_compares_once(monkeypatch):
    """It may keep statistics. Those of the host compare again in the backward pass."""
    monkeypatch.setattr(ranking_core, 'counting_waits', lambda *_: True)
    for own, calls in ((False, 2), (True, 1)):
        seen = []

        def counted(self, *args, seen=seen, **kwargs):
            seen.append(1)
            return GIoULoss.forward(self, *args, **kwargs)

        kind = type('Own', (GIoULoss,), dict(forward=counted))
        if not own:
            kind.__module__ = GIoULoss.__module__
        head = build(DENSE['retina'](*LOSSES['alrp-giou']))
        head.loss_bbox = kind()
        instances, metas = truth((3, 2), head.num_classes)
        total(head.loss_by_feat(*head(features(2)), instances, metas)).backward()
        assert len(seen) == calls


def waits_of(scene) -> list[str]:
    outcome(scene)  # what is made once does not count
    with HostWaits() as waits:
        outcome(scene)
    return waits.found


@pytest.mark.parametrize('loss', RANKING)
@pytest.mark.parametrize('kind', [*DENSE, 'proposals'])
def test_nothing_to_wait_for_beside_the_loss(kind, loss, monkeypatch):
    """The loss itself is one operator here; tests/kernels looks into it."""
    monkeypatch.setattr(ranking_core, 'counting_waits', lambda *_: True)
    make = box_scene if kind == 'proposals' else lambda *losses: dense_scene(kind, *losses)
    assert waits_of(make(*LOSSES[loss])) == []


def test_on_the_cpu_positives_are_counted_once():
    assert waits_of(dense_scene('retina', *LOSSES['ap'])) == ['nonzero']


def test_the_levels_of_atss_are_counted_with_one_wait(monkeypatch):
    head = build(retina(*LOSSES['ap'], assigner=ATSS))
    instances, metas = truth((3, 2), 3)
    outs = head(features(2))
    monkeypatch.setattr(
        type(head.assigner.assigner), 'assign', lambda self, boxes, sizes, *rest: seen.append(sizes)
    )
    anchors, flags = head.get_anchors([m.shape[-2:] for m in outs[0]], metas, device='cpu')
    seen: list[list[int]] = []
    flags[0][0][:7] = False
    head._level_sizes = [len(level) for level in anchors[0]]
    monkeypatch.setattr(head.sampler, 'sample', lambda *_: 1 / 0)  # no further than this
    with HostWaits() as waits, pytest.raises(ZeroDivisionError):
        head._get_targets_single(
            torch.cat(anchors[0]), torch.cat(flags[0]), instances[0], metas[0], None
        )
    assert seen == [[len(anchors[0][0]) - 7, len(anchors[0][1])]]
    # The host asks whether any anchor is inside, and picks these.
    assert waits.found == ['tolist', '_local_scalar_dense', 'index']


@CUDA
@pytest.mark.parametrize('loss', RANKING)
@pytest.mark.parametrize('kind', [*DENSE, 'proposals'])
def test_no_synchronisation_on_a_gpu(kind, loss):
    make = (
        box_scene if kind == 'proposals' else lambda *losses, **kw: dense_scene(kind, *losses, **kw)
    )
    scene = make(*LOSSES[loss], device='cuda')
    outcome(scene)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode('error')
    try:
        outcome(scene)
    finally:
        torch.cuda.set_sync_debug_mode('default')


@pytest.mark.parametrize('numbers', [(0.0,) * 4, (0.1, 0.1, 0.2, 0.2), [1e-6], 3, [1, 2.5]])
def test_constants_are_the_same_wherever_they_are_made(numbers):
    like = torch.zeros(2, dtype=torch.float64)
    with ConstantsMadeOnDevice():
        made = like.new_tensor(numbers)
    torch.testing.assert_close(made, like.new_tensor(numbers), rtol=0, atol=0)


def test_other_tensors_are_left_alone():
    like = torch.zeros(2)
    with ConstantsMadeOnDevice(), HostWaits() as waits:
        assert like.new_tensor([[1.0]]).shape == (1, 1)
        assert like.new_tensor([]).shape == (0,)
        assert like.new_tensor([1], dtype=torch.int64).dtype == torch.int64
    assert waits.found == ['lift_fresh'] * 3


@CUDA
def test_fovea_targets_are_the_same_on_a_gpu():
    head = build(DENSE['fovea'](*LOSSES['ap']))
    instances, _ = truth((3, 2), head.num_classes)
    sizes = [(12, 12), (6, 6)]
    points = head.prior_generator.grid_priors(sizes, dtype=torch.float32, device='cpu')
    wanted = head.get_targets(instances, sizes, points)
    found = head.get_targets([i.to('cuda') for i in instances], sizes, [p.cuda() for p in points])
    for mine, other in zip(found, wanted):
        assert mine.is_cuda
        torch.testing.assert_close(mine.cpu(), other, rtol=0, atol=0)
