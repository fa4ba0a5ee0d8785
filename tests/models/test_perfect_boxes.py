"""Predictions that decode to the true boxes cost nothing, whatever the losses and the head."""

import math

import pytest
import torch
from builders import LOSSES, SMOOTH_L1, build, fovea, truth
from scenes import (
    HEADS,
    LEVELS,
    losses,
    make,
    perfect_deltas,
    predict,
    proposal_losses,
    proposals,
)

BOXES = {
    'smooth-l1': SMOOTH_L1,
    'iou': dict(type='IoULoss', mode='linear'),
    'iou-log': dict(type='IoULoss'),
    'bounded-iou': dict(type='BoundedIoULoss'),
    **{name.lower(): dict(type=f'{name}Loss') for name in ('GIoU', 'DIoU', 'EIoU', 'SIoU')},
}  # without CIoULoss, which is 0 / 0 for equal boxes
RANKING = ['ohem', 'auc', 'ap', 'dr']
PAIRS = [(loss, box) for loss in RANKING for box in BOXES]
PAIRS += [('alrp-giou', box) for box in ('iou', 'giou', 'diou', 'eiou', 'siou')]


def box_loss(head, perfect):
    """The loss of the boxes with perfect predictions, or with those of a new head."""
    if not hasattr(head, 'fc_cls'):
        scores, deltas = predict(head)
        return losses(head, (scores, perfect_deltas(head) if perfect else deltas))['loss_bbox']
    features, rois, labels, true = proposals()
    scores, deltas = head(features)
    if perfect:  # in the place of the own class; noise in those of others
        deltas = torch.randn(deltas.shape, generator=torch.Generator().manual_seed(3))
        own = head.bbox_coder.encode(rois[:, 1:], true)
        for row in (labels < head.num_classes).nonzero()[:, 0].tolist():
            at = 0 if head.reg_class_agnostic else 4 * int(labels[row])
            deltas[row, at : at + 4] = own[row]
    return proposal_losses(head, scores, deltas, rois, labels, true)['loss_bbox']


@pytest.mark.parametrize('loss, box', PAIRS, ids=str)
@pytest.mark.parametrize('kind', [*HEADS, 'class-agnostic proposals'])
def test_perfect_boxes_cost_nothing(kind, loss, box):
    options = dict(agnostic=True) if kind.startswith('class-agnostic') else {}
    head = make(kind.split()[-1], LOSSES[loss][0], BOXES[box], **options)
    assert abs(box_loss(head, perfect=True).item()) < 2e-4
    assert box_loss(head, perfect=False).item() > 1e-2


def test_boxes_of_foveabox_are_the_ground_truth():
    head = build(fovea(*LOSSES['alrp-giou']))
    instances, metas = truth()
    rows = head.rows(*predict(head), instances, metas)
    positives = (rows.labels < 3).flatten().nonzero()[:, 0]
    _, target = rows.boxes(positives)
    images = positives // rows.labels.shape[1]
    assert len(positives) > 5 and len({row.item() for row in images}) == 2
    for image, box in zip(images, target):
        assert (instances[image].bboxes - box).abs().amax(1).min() < 1e-3


@pytest.mark.parametrize('size', [0.5, 2.0, 4.0])
def test_foveabox_tests_with_the_boxes_it_trains(size):
    """With offsets within the range of targets and beyond; the host decodes at test time."""
    head = build(fovea(*LOSSES['alrp-giou'], num_classes=1))
    generator = torch.Generator().manual_seed(0)
    offsets = [size * torch.randn(2, 4, *level, generator=generator) for level in LEVELS]
    # The host sorts by score: let these fall from place to place.
    scores = [torch.linspace(3, -3, y * x).expand(2, -1).view(2, 1, y, x) for y, x in LEVELS]
    instances, metas = truth(num_classes=1)
    trained, _ = head.rows(scores, offsets, instances, metas).boxes(slice(None))
    # In the middle of a large image, which cuts no box.
    points = head.prior_generator.grid_priors(LEVELS, dtype=torch.float32, device='cpu')
    head.prior_generator.grid_priors = lambda *_, **__: [level + 5000 for level in points]
    head.test_cfg.update(nms_pre=1000, score_thr=0.0)
    meta = dict(img_shape=(10000, 10000), scale_factor=(1.0, 1.0))
    tested = head.predict_by_feat(scores, offsets, batch_img_metas=[meta] * 2, with_nms=False)
    assert (max(level.abs().max() for level in offsets) > math.log(16)) == (size > 1)
    for found, boxes in zip(tested, trained.view(2, -1, 4)):
        torch.testing.assert_close(found.bboxes - 5000, boxes, rtol=0, atol=5e-3)
