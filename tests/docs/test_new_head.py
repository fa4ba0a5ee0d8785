"""The head of the page runs as it is written, in the page's config, and ranks."""

import re
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from torchvision.ops import generalized_box_iou_loss

sys.path.insert(0, str(Path(__file__).parents[1] / 'models'))
from builders import FOCAL, build, truth

from rankdet.functional import ap_loss

PAGE = Path(__file__).parents[2] / 'docs/new_head.md'
STRIDES, RANGES = (8, 16, 32, 64, 128), (0, 64, 128, 256, 512, 1e8)
LOSSES = ('APLoss', 'aLRPLoss', 'DRLoss', 'AUCLoss', 'OHEMCrossEntropyLoss', 'FocalLoss')
SMALL = dict(num_classes=3, in_channels=32, feat_channels=32, stacked_convs=1)


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    """The page's config, with the page's head in a module beside it."""
    blocks = re.findall(r'```python\n(.*?)```', PAGE.read_text(encoding='utf-8'), re.DOTALL)
    assert len(blocks) == 2
    folder = tmp_path_factory.mktemp('page')
    (folder / 'my_heads.py').write_text(blocks[0])
    (folder / 'config.py').write_text(blocks[1])
    sys.path.insert(0, str(folder))
    yield Config.fromfile(folder / 'config.py')
    sys.path.remove(str(folder))


def make(config, **changes):
    head = dict(config.model.bbox_head, test_cfg=config.model.test_cfg)
    return build(head | SMALL | changes)


def maps(images=2, seed=1, size=96):
    generator = torch.Generator().manual_seed(seed)
    sides = [-(-size // stride) for stride in STRIDES]
    return [torch.randn(images, 32, side, side, generator=generator) for side in sides]


def places(scores, boxes, instances):
    """Logits, label, predicted and true box of every point, one by one, as FCOS defines them."""
    for level, stride in enumerate(STRIDES):
        for image, objects in enumerate(instances):
            for row in range(scores[level].shape[2]):
                for column in range(scores[level].shape[3]):
                    x, y = (column + 0.5) * stride, (row + 0.5) * stride
                    label, true, area = 3, (x, y, x, y), float('inf')
                    for (x1, y1, x2, y2), of in zip(objects.bboxes.tolist(), objects.labels):
                        sides = x - x1, y - y1, x2 - x, y2 - y
                        fits = min(sides) > 0 and RANGES[level] <= max(sides) <= RANGES[level + 1]
                        if fits and (x2 - x1) * (y2 - y1) < area:
                            label, true, area = int(of), (x1, y1, x2, y2), (x2 - x1) * (y2 - y1)
                    left, top, right, bottom = boxes[level][image, :, row, column]
                    predicted = torch.stack([x - left, y - top, x + right, y + bottom])
                    yield scores[level][image, :, row, column], label, predicted, true


def test_it_ranks(config):
    head = make(config)
    assert type(head).__name__ == 'RankFCOSHead' and type(head.loss_cls).__name__ == 'APLoss'
    instances, metas = truth()
    scores, boxes = head(maps())
    scores = [(100 * score).detach().requires_grad_() for score in scores]  # far apart
    losses = head.loss_by_feat(scores, boxes, instances, metas)
    gradient = torch.autograd.grad(losses['loss_cls'], scores)

    logits, labels, predicted, true = zip(*places(scores, boxes, instances))
    labels, true = torch.tensor(labels), torch.tensor(true)
    expected = ap_loss(torch.stack(logits), labels, class_indices=True)
    assert 0.1 < expected < 1
    torch.testing.assert_close(losses['loss_cls'], expected)
    for got, wanted in zip(gradient, torch.autograd.grad(expected, scores)):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-7)

    positive = labels < 3
    assert positive.sum() > 10
    expected = generalized_box_iou_loss(torch.stack(predicted)[positive], true[positive])
    torch.testing.assert_close(losses['loss_bbox'], expected.mean())


@pytest.mark.parametrize('counts', [(3, 2), (0, 3), (0, 0)])
@pytest.mark.parametrize('loss', LOSSES)
def test_losses_and_gradients_are_finite(config, loss, counts):
    head = make(config, loss_cls=FOCAL if loss == 'FocalLoss' else dict(type=loss))
    channels = 4 if loss.startswith('OHEM') else 3  # softmax has one for the background
    prior = 0.5 if loss == 'DRLoss' else 0.01
    torch.testing.assert_close(head.conv_cls.bias.sigmoid(), torch.full((channels,), prior))
    instances, metas = truth(counts)
    losses = head.loss_by_feat(*head(maps()), instances, metas)
    assert set(losses) == {'loss_cls', 'loss_bbox'}
    sum(losses.values()).backward()
    for name, parameter in head.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    assert sum(counts) == 0 or head.conv_cls.weight.grad.abs().sum() > 0


def test_it_learns_and_predicts(config):
    head = make(config)
    instances, metas = truth()
    optimizer = torch.optim.Adam([p for p in head.parameters() if p.requires_grad], 3e-3)
    history = []
    for _ in range(40):
        losses = head.loss_by_feat(*head(maps()), instances, metas)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        history.append(losses['loss_cls'].item())
    assert history[-1] < 0.5 * history[0], history
    with torch.no_grad():
        found = head.eval().predict_by_feat(*head(maps()), batch_img_metas=metas)
    assert all(len(image.bboxes) and image.scores.isfinite().all() for image in found)
