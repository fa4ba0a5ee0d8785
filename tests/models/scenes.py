"""Predictions, targets and rows of the five heads, laid out by hand. Not a test itself."""

from __future__ import annotations

import torch
from builders import DENSE, bbox_head, build, features, truth

LEVELS = [(12, 12), (6, 6)]  # of an image of builders.SIZE
HEADS = [*DENSE, 'proposals']


def make(kind, loss_cls, loss_bbox, **options):
    """A head with scores that differ from place to place."""
    head = build((DENSE | {'proposals': bbox_head})[kind](loss_cls, loss_bbox, **options))
    for weight in head.parameters():
        if weight.ndim > 1:
            weight.data *= 20
    return head


def losses(head, outs, counts=(3, 2), images=slice(None)):
    """Losses of some images of a batch; ``outs`` are the predictions for these alone."""
    instances, metas = truth(counts, head.num_classes)
    found = head.loss_by_feat(*outs, instances[images], metas[images])
    return {key.replace('rpn_', ''): value for key, value in found.items()}


def predict(head, images=slice(None)):
    return head([level[images] for level in features()])


def proposals(num_classes=3, rows=24, seed=0):
    """Features, proposals, labels and true boxes; both images' rows, positives and classes mix."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(rows, 2, generator=generator) * 60
    boxes = torch.cat([corner, corner + 10 + 20 * torch.rand(rows, 2, generator=generator)], 1)
    labels = torch.full((rows,), num_classes)
    positives = torch.tensor([1, 4, 5, 10, 16, 21, 23])
    labels[positives] = torch.arange(len(positives)) % num_classes
    true = boxes + torch.randn(rows, 4, generator=generator)
    images = torch.arange(rows) // 3 % 2
    return (
        torch.randn(rows, 4, 3, 3, generator=generator),
        torch.cat([images[:, None], boxes], 1),
        labels,
        true,
    )


def proposal_losses(head, scores, deltas, rois, labels, true):
    is_positive = labels < head.num_classes
    target = true if head.reg_decoded_bbox else head.bbox_coder.encode(rois[:, 1:], true)
    weights = is_positive.float()[:, None].expand(-1, 4)
    target = target * weights  # as the host: zeros for background
    return head.loss(scores, deltas, rois, labels, torch.ones(len(rois)), target, weights)


def perfect_deltas(head, counts=(3, 2)):
    """Maps ``(N, A * 4, H, W)`` that decode to the true boxes of all positives, else noise.

    For anchors by the coder's inverse, for FoveaBox by the definition of its targets (Kong et
    al., Eq. 2), one place after the other.
    """
    instances, metas = truth(counts, head.num_classes)
    generator = torch.Generator().manual_seed(7)
    if hasattr(head, 'base_edge_list'):
        return _fovea_offsets(head, instances, generator)
    head.reg_decoded_bbox, decoded = False, head.reg_decoded_bbox
    anchors, flags = head.get_anchors(LEVELS, metas, device='cpu')
    labels, _, targets, *_ = head.get_targets(anchors, flags, instances, metas)[:4]
    head.reg_decoded_bbox = decoded
    maps = []
    for (height, width), label, target in zip(LEVELS, labels, targets):
        noise = torch.randn(target.shape, generator=generator)
        target = torch.where(label[..., None] < head.num_classes, target, noise)
        target = target.view(len(instances), height, width, -1)
        maps.append(target.permute(0, 3, 1, 2).contiguous())
    return maps


def _fovea_offsets(head, instances, generator):
    points = head.prior_generator.grid_priors(LEVELS, dtype=torch.float32, device='cpu')
    maps = [torch.randn(len(instances), 4, *size, generator=generator) for size in LEVELS]
    for image, instance in enumerate(instances):
        labels, _ = head._get_targets_single(instance, LEVELS, points)
        for level, label in enumerate(labels):
            for y, x in (label < head.num_classes).nonzero().tolist():
                px, py = points[level].view(*LEVELS[level], 2)[y, x].tolist()
                x1, y1, x2, y2 = _owner(head, instance, level, px, py, int(label[y, x]))
                sides = torch.tensor([px - x1, py - y1, x2 - px, y2 - py])
                edge = head.base_edge_list[level]
                maps[level][image, :, y, x] = (sides / edge).clamp(1 / 16, 16).log()
    return maps


def _owner(head, instance, level, px, py, label):
    """The smallest object of the label around a point: the host lets it win."""
    low, high = head.scale_ranges[level]
    around = []
    for box, own in zip(instance.bboxes.tolist(), instance.labels.tolist()):
        x1, y1, x2, y2 = box
        size = ((x2 - x1) * (y2 - y1)) ** 0.5
        if own == label and low <= size <= high and x1 <= px <= x2 and y1 <= py <= y2:
            around.append((size, box))
    return min(around)[1]
