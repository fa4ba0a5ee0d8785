"""The box head of Faster R-CNN."""

import math

import pytest
import torch
from builders import FOCAL, LOSSES, SMOOTH_L1, SOFTMAX, bbox_head, build

from rankdet.functional import ap_loss


def batch(num_classes=3, positives=5, rois=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(rois, 2, generator=generator) * 60
    boxes = torch.cat([corner, corner + 10 + 20 * torch.rand(rois, 2, generator=generator)], 1)
    images = torch.arange(rois) % 2
    labels = torch.full((rois,), num_classes)
    labels[:positives] = torch.randint(0, num_classes, (positives,), generator=generator)
    features = torch.randn(rois, 4, 3, 3, generator=generator)
    return features, torch.cat([images[:, None], boxes], 1), labels, boxes + 2


def losses_of(head, num_classes=3, positives=5):
    features, rois, labels, target = batch(num_classes, positives)
    scores, deltas = head(features)
    targets = target if head.reg_decoded_bbox else torch.full_like(target, 0.1)
    is_positive = (labels < num_classes).float()
    weights = is_positive[:, None].expand(-1, 4)
    return (scores, deltas), head.loss(
        scores, deltas, rois, labels, torch.ones(len(rois)), targets, weights
    )


@pytest.mark.parametrize('box', [SMOOTH_L1, dict(type='GIoULoss')])
def test_with_cross_entropy_it_is_the_stock_head(box):
    ours = build(bbox_head(SOFTMAX, box))
    host = build(bbox_head(SOFTMAX, box, kind='Shared2FCBBoxHead'))
    _, a = losses_of(ours)
    _, b = losses_of(host)
    assert a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize('agnostic', [False, True])
@pytest.mark.parametrize('num_classes', [1, 20])
@pytest.mark.parametrize('loss', LOSSES)
def test_every_loss_trains_and_scores(loss, num_classes, agnostic):
    head = build(bbox_head(*LOSSES[loss], num_classes, agnostic))
    (scores, deltas), losses = losses_of(head, num_classes)
    value = losses['loss_cls'] + losses['loss_bbox']
    value.backward()
    assert math.isfinite(value)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())
    sigmoid = loss != 'ohem'
    assert scores.shape[1] == num_classes + (not sigmoid)
    _, rois, _, _ = batch(num_classes)
    meta = dict(img_shape=(96, 96), scale_factor=(1.0, 1.0))
    (found,) = head.predict_by_feat((rois,), (scores,), (deltas,), [meta])
    expected = scores.sigmoid() if sigmoid else scores.softmax(1)[:, :-1]
    assert torch.equal(found.scores[:, :-1], expected)


@pytest.mark.parametrize('loss', LOSSES)
def test_without_positives_every_parameter_has_a_gradient(loss):
    head = build(bbox_head(*LOSSES[loss]))
    _, losses = losses_of(head, positives=0)
    (losses['loss_cls'] + losses['loss_bbox']).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())


def test_ap_loss_ranks_all_proposals_of_the_batch():
    head = build(bbox_head(dict(type='APLoss'), SMOOTH_L1))
    (scores, _), losses = losses_of(head)
    labels = batch()[2]
    targets = torch.zeros(12, 3)
    for row, label in enumerate(labels.tolist()):
        if label < 3:
            targets[row, label] = 1
    assert losses['loss_cls'].item() == pytest.approx(ap_loss(scores, targets).item(), abs=1e-6)


def test_focal_loss_scores_by_the_sigmoid_it_trained():
    head = build(bbox_head(FOCAL, SMOOTH_L1))
    assert head.fc_cls.out_features == 3
    assert head.fc_cls.bias[0].item() == pytest.approx(math.log(0.01 / 0.99))
