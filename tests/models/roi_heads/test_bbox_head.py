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


SEESAW = dict(type='SeesawLoss', num_classes=3)  # two more channels, and sums of what it saw
V3DET = dict(type='FocalCustomLoss', num_classes=3)  # channels of its own too


@pytest.mark.parametrize('box', [SMOOTH_L1, dict(type='GIoULoss')])
@pytest.mark.parametrize('loss', [SOFTMAX, SEESAW, V3DET], ids=lambda loss: loss['type'])
def test_with_a_stock_loss_it_is_the_stock_head(loss, box):
    results = []
    for kind in ('RankShared2FCBBoxHead', 'Shared2FCBBoxHead'):
        head = build(bbox_head(loss, box, kind=kind))
        outs, losses = losses_of(head)
        sum(value for key, value in losses.items() if 'loss' in key).backward()
        meta = dict(img_shape=(96, 96), scale_factor=(1.0, 1.0))
        (found,) = head.predict_by_feat((batch()[1],), *[(out,) for out in outs], [meta])
        gradients = {f'gradient of {key}': p.grad for key, p in head.named_parameters()}
        found = dict(boxes=found.bboxes, scores=found.scores)
        results.append(losses | gradients | dict(head.named_buffers()) | found)
    ours, host = results
    assert ours.keys() == host.keys() and any(key.startswith('acc') for key in ours)
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


@pytest.mark.parametrize('agnostic', [False, True])
@pytest.mark.parametrize('num_classes', [1, 3])
@pytest.mark.parametrize('loss', LOSSES)
def test_without_proposals_it_trains_and_predicts(loss, num_classes, agnostic):
    head = build(bbox_head(*LOSSES[loss], num_classes, agnostic))
    scores, deltas = head(torch.zeros(0, 4, 3, 3))
    rois, labels = torch.zeros(0, 5), torch.zeros(0, dtype=torch.long)
    boxes = torch.zeros(0, 4)
    losses = head.loss(scores, deltas, rois, labels, torch.zeros(0), boxes, boxes)
    if loss != 'focal':  # the stock head's path, which then has no loss of classification
        assert losses.keys() == losses_of(build(bbox_head(*LOSSES[loss])))[1].keys()
        assert sum(losses.values()) == 0
        sum(losses.values()).backward()
        assert all(p.grad is not None and p.grad.eq(0).all() for p in head.parameters())
    meta = dict(img_shape=(96, 96), scale_factor=(1.0, 1.0))
    (found,) = head.predict_by_feat((rois,), (scores,), (deltas,), [meta])
    assert len(found.bboxes) == len(found.scores) == 0


@pytest.mark.parametrize('loss', ['ap', 'dr'])
def test_weights_of_a_file_win_over_the_prior(loss, tmp_path):
    head = build(bbox_head(*LOSSES[loss]))
    torch.nn.init.constant_(head.fc_cls.bias, 1.25)
    torch.save(head.state_dict(), tmp_path / 'head.pth')
    trained = dict(type='Pretrained', checkpoint=str(tmp_path / 'head.pth'))
    again = build(dict(bbox_head(*LOSSES[loss]), init_cfg=trained), seed=1)
    for key, value in head.state_dict().items():
        assert torch.equal(again.state_dict()[key], value), key


def test_iou_losses_need_decoded_boxes_beside_a_ranking_loss():
    config = {**bbox_head(dict(type='APLoss'), dict(type='GIoULoss')), 'reg_decoded_bbox': False}
    with pytest.raises(ValueError, match='GIoULoss compares decoded boxes; set reg_decoded_bbox'):
        build(config)
