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
    results = []
    for kind in ('RankShared2FCBBoxHead', 'Shared2FCBBoxHead'):
        head = build(bbox_head(SOFTMAX, box, kind=kind))
        outs, losses = losses_of(head)
        (losses['loss_cls'] + losses['loss_bbox']).backward()
        meta = dict(img_shape=(96, 96), scale_factor=(1.0, 1.0))
        (found,) = head.predict_by_feat((batch()[1],), *[(out,) for out in outs], [meta])
        gradients = {f'gradient of {key}': p.grad for key, p in head.named_parameters()}
        results.append(losses | gradients | dict(boxes=found.bboxes, scores=found.scores))
    ours, host = results
    assert ours.keys() == host.keys() and 'acc' in ours
    assert all(torch.equal(ours[key], host[key]) for key in host)


@pytest.mark.parametrize(('loss', 'prior'), [('focal', 0.01), ('ap', 0.01), ('auc', 0.01),
                                             ('alrp-giou', 0.01), ('dr', 0.5)])  # fmt: skip
def test_scores_start_at_the_prior_of_the_loss(loss, prior):
    head = build(bbox_head(*LOSSES[loss]))
    scores, _ = head(torch.zeros(2, 4, 3, 3))
    assert scores.sigmoid().mean().item() == pytest.approx(prior, abs=1e-4)


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
