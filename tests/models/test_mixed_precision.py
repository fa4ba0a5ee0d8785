"""Every head with every loss in half precision: finite, and close to single precision."""

import pytest
import torch
from builders import DENSE, FOCAL, GIOU, LOSSES, SOFTMAX, bbox_head, build, features, total, truth

# Beside the losses of every head, those that only one of them has.
PAIRS = [(kind, *LOSSES[loss]) for kind in DENSE for loss in LOSSES]
PAIRS += [('bbox', *LOSSES[loss]) for loss in LOSSES]
PAIRS += [('ssd', None, None), ('bbox', SOFTMAX, GIOU), ('retina', FOCAL, GIOU)]
CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')

# Largest difference of the gradients over the length of the exact one. Rounding moves a score past
# another at the border of what hard example mining keeps: other examples count then.
TOLERANCE = 0.03
TOLERANCE_OF_MINING = 0.15


def assert_close(found, expected, pair):
    mines = pair[1] and pair[1]['type'].startswith('OHEM')
    assert found.isfinite().all() and expected.norm() > 0
    error = (found - expected).norm() / expected.norm()
    assert error < (TOLERANCE_OF_MINING if mines else TOLERANCE)


def name(pair) -> str:
    kind, loss, box = pair
    return f'{kind}-{loss["type"]}-{box["type"]}' if loss else f'{kind}-stock'


def make(kind, loss_cls, loss_bbox):
    """A head whose scores differ widely enough for a ranking."""
    config = (bbox_head if kind == 'bbox' else DENSE[kind])(loss_cls, loss_bbox)
    head = build(config)
    generator = torch.Generator().manual_seed(4)
    for weight in head.parameters():
        if weight.ndim > 1:
            spread = 0.5 / weight[0].numel() ** 0.5
            weight.data += spread * torch.randn(weight.shape, generator=generator)
    return head


def run(kind, head, device='cpu'):
    """Scores and loss of one batch."""
    classes = head.num_classes
    if kind != 'bbox':
        instances, metas = truth(num_classes=classes)
        instances = [instance.to(device) for instance in instances]
        outs = head([feature.to(device) for feature in features()])
        return outs[0][0], total(head.loss_by_feat(*outs, instances, metas))
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(16, 2, generator=generator) * 60
    boxes = torch.cat([corner, corner + 12 + 20 * torch.rand(16, 2, generator=generator)], 1)
    labels = torch.where(torch.arange(16) < 5, torch.arange(16) % classes, classes)
    maps = torch.randn(16, 4, 3, 3, generator=generator).to(device)
    rois = torch.cat([torch.arange(16)[:, None] % 2, boxes], 1)
    targets = boxes + 2 if head.reg_decoded_bbox else torch.full_like(boxes, 0.1)
    weights = (labels < classes).float()[:, None].expand(-1, 4)
    scores, deltas = head(maps)
    known = [t.to(device) for t in (rois, labels, torch.ones(16), targets, weights)]
    losses = head.loss(scores, deltas, *known)
    return scores, losses['loss_cls'] + losses['loss_bbox']


def gradient(head) -> torch.Tensor:
    return torch.cat([weight.grad.float().flatten().cpu() for weight in head.parameters()])


@pytest.mark.parametrize('pair', PAIRS, ids=name)
def test_bfloat16_on_a_cpu(pair):
    """Value and whole gradient, from logits that keep eight bits."""
    kind = pair[0]
    plain, half = make(*pair), make(*pair)
    _, expected = run(kind, plain)
    expected.backward()
    with torch.autocast('cpu', torch.bfloat16):
        scores, found = run(kind, half)
    assert scores.dtype == torch.bfloat16
    found.float().backward()
    assert found.item() == pytest.approx(expected.item(), rel=0.02)
    assert_close(gradient(half), gradient(plain), pair)


@CUDA
@pytest.mark.parametrize('pair', PAIRS, ids=name)
def test_float16_on_a_gpu(pair):
    """As --amp does it: autocast to float16, and the loss scaled by 2^16."""
    kind = pair[0]
    plain, half = make(*pair).cuda(), make(*pair).cuda()
    _, expected = run(kind, plain, 'cuda')
    expected.backward()
    with torch.autocast('cuda', torch.float16):
        scores, found = run(kind, half, 'cuda')
    assert scores.dtype == torch.float16
    (found.float() * 2**16).backward()
    assert_close(gradient(half) / 2**16, gradient(plain), pair)
