"""Greedy and soft NMS against loops in float64."""

import math

import numpy as np
import pytest
import torch

import rankdet.compat

rankdet.compat.install()

import mmcv.ops  # noqa: E402


def random_boxes(n: int, seed: int, ties: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(n, 2, generator=generator) * 60
    size = torch.rand(n, 2, generator=generator) * 40 + 1
    scores = torch.randperm(n, generator=generator) / n
    if ties:
        scores = (scores * 5).round() / 5
    return torch.cat([corner, corner + size], 1), scores


def slow_iou(a, b, offset: int) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]) + offset)
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]) + offset)
    areas = [(x2 - x1 + offset) * (y2 - y1 + offset) for x1, y1, x2, y2 in (a, b)]
    union = sum(areas) - width * height
    return width * height / union if union else math.nan


def slow_nms(boxes, scores, threshold: float, offset: int) -> list[int]:
    boxes = boxes.double().tolist()
    scores = scores.tolist()
    kept = []
    for i in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        if not any(slow_iou(boxes[i], boxes[k], offset) > threshold for k in kept):
            kept.append(i)
    return kept


def slow_soft_nms(boxes, scores, threshold, sigma, min_score, method, offset):
    """The best goes in front by a swap; what falls below min_score is overwritten by the last."""
    rows = [
        [i, box, score]
        for i, (box, score) in enumerate(zip(boxes.double().tolist(), scores.double().tolist()))
    ]
    first = 0
    while first < len(rows):
        best = max(range(first, len(rows)), key=lambda r: (rows[r][2], -r))
        rows[first], rows[best] = rows[best], rows[first]
        r = first + 1
        while r < len(rows):
            iou = slow_iou(rows[first][1], rows[r][1], offset)
            if method == 'gaussian':
                rows[r][2] *= math.exp(-iou * iou / sigma)
            elif iou >= threshold:
                rows[r][2] *= 0 if method == 'naive' else 1 - iou
            if rows[r][2] < min_score:
                last = rows.pop()
                if r < len(rows):
                    rows[r] = last
            else:
                r += 1
        first += 1
    return [row[0] for row in rows], [[*row[1], row[2]] for row in rows]


@pytest.mark.parametrize('ties', [False, True])
@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('threshold', [0.1, 0.5, 0.9])
def test_nms(threshold, offset, ties):
    for seed in range(5):
        boxes, scores = random_boxes(40, seed, ties)
        dets, kept = mmcv.ops.nms(boxes, scores, threshold, offset)
        assert kept.tolist() == slow_nms(boxes, scores, threshold, offset)
        assert torch.equal(dets, torch.cat([boxes, scores[:, None]], 1)[kept])


@pytest.mark.parametrize(('inter', 'union'), [(1, 2), (3, 10), (7, 10), (1, 10), (2, 5)])
def test_overlap_equal_to_the_threshold_is_kept(inter, union):
    # Within a box of area union lies one of area inter: their IoU is the threshold, exactly.
    boxes = torch.tensor([[0.0, 0.0, union, 1.0], [0.0, 0.0, inter, 1.0]])
    _, kept = mmcv.ops.nms(boxes, torch.tensor([0.9, 0.8]), inter / union)
    assert kept.tolist() == [0, 1]
    _, kept = mmcv.ops.nms(boxes, torch.tensor([0.9, 0.8]), inter / union - 1e-6)
    assert kept.tolist() == [0]


def test_nms_limits():
    boxes, scores = random_boxes(40, 0)
    everything = slow_nms(boxes, scores, 0.3, 0)
    _, kept = mmcv.ops.nms(boxes, scores, 0.3, max_num=3)
    assert kept.tolist() == everything[:3]
    _, kept = mmcv.ops.nms(boxes, scores, 0.3, score_threshold=0.5)
    assert kept.tolist() == [i for i in everything if scores[i] > 0.5]
    dets, kept = mmcv.ops.nms(boxes[:0], scores[:0], 0.3)
    assert dets.shape == (0, 5)
    assert kept.dtype == torch.long


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_nms_dtypes(dtype):
    boxes, scores = random_boxes(30, 1)
    boxes = boxes.to(dtype).round()
    _, kept = mmcv.ops.nms(boxes, scores, 0.4)  # scores stay float32, as under autocast
    assert kept.tolist() == slow_nms(boxes, scores, 0.4, 0)


def test_nms_takes_arrays_and_leaves_its_input_alone():
    boxes, scores = random_boxes(30, 2)
    before = boxes.clone()
    dets, kept = mmcv.ops.nms(boxes.numpy(), scores.numpy(), 0.4, offset=1)
    assert isinstance(dets, np.ndarray)
    assert kept.tolist() == slow_nms(boxes, scores, 0.4, 1)
    assert torch.equal(boxes, before)


@pytest.mark.parametrize('split_thr', [10000, 10])
@pytest.mark.parametrize('class_agnostic', [False, True])
def test_batched_nms(class_agnostic, split_thr):
    if class_agnostic and split_thr == 10:
        pytest.skip('mmcv splits by class there')
    boxes, scores = random_boxes(60, 3)
    labels = torch.arange(60) % 3
    config = dict(type='nms', iou_threshold=0.3, split_thr=split_thr)
    dets, kept = mmcv.ops.batched_nms(boxes, scores, labels, config, class_agnostic)
    classes = [labels >= 0] if class_agnostic else [labels == c for c in range(3)]
    groups = [torch.where(mask)[0] for mask in classes]
    expected = [
        int(group[k]) for group in groups for k in slow_nms(boxes[group], scores[group], 0.3, 0)
    ]
    expected.sort(key=lambda i: -scores[i])
    assert kept.tolist() == expected
    assert torch.equal(dets, torch.cat([boxes, scores[:, None]], 1)[kept])


@pytest.mark.parametrize('ties', [False, True])
@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('min_score', [0.0, 0.01, 0.3])
@pytest.mark.parametrize('method', ['naive', 'linear', 'gaussian'])
def test_soft_nms(method, min_score, offset, ties):
    for seed in range(4):
        boxes, scores = random_boxes(30, seed, ties)
        dets, kept = mmcv.ops.soft_nms(
            boxes, scores, 0.3, sigma=0.4, min_score=min_score, method=method, offset=offset
        )
        expected, rows = slow_soft_nms(boxes, scores, 0.3, 0.4, min_score, method, offset)
        assert kept.tolist() == expected
        torch.testing.assert_close(dets, torch.tensor(rows), rtol=1e-5, atol=1e-6)


def test_soft_nms_limits():
    boxes, scores = random_boxes(5, 0)
    dets, kept = mmcv.ops.soft_nms(boxes[:0], scores[:0])
    assert dets.shape == (0, 5)
    assert kept.tolist() == []
    # The first box stays, whatever its score; boxes without area overlap nothing.
    point = torch.tensor([[3.0, 3.0, 3.0, 3.0], [3.0, 3.0, 3.0, 3.0]])
    dets, kept = mmcv.ops.soft_nms(point, torch.tensor([1e-4, 1e-5]), min_score=1e-3)
    assert kept.tolist() == [0]
    dets, kept = mmcv.ops.soft_nms(point, torch.tensor([0.9, 0.8]), method='linear')
    assert dets[:, 4].tolist() == pytest.approx([0.9, 0.8])


def test_soft_nms_in_batched_nms():
    boxes, scores = random_boxes(40, 5)
    labels = torch.arange(40) % 2
    config = dict(type='soft_nms', iou_threshold=0.3, min_score=0.05, method='linear')
    dets, kept = mmcv.ops.batched_nms(boxes, scores, labels, config)
    found = dict(zip(kept.tolist(), dets[:, 4].tolist()))
    for label in (0, 1):
        group = torch.where(labels == label)[0]
        expected, rows = slow_soft_nms(boxes[group], scores[group], 0.3, 0.5, 0.05, 'linear', 0)
        for i, row in zip(group[expected].tolist(), rows):
            assert found.pop(i) == pytest.approx(row[4], abs=1e-4)
    assert not found


def test_input_that_requires_grad():
    boxes, scores = random_boxes(10, 6)
    boxes.requires_grad_()
    scores.requires_grad_()
    _, kept = mmcv.ops.nms(boxes, scores, 0.5)
    assert kept.tolist() == slow_nms(boxes.detach(), scores.detach(), 0.5, 0)
    mmcv.ops.soft_nms(boxes, scores)
