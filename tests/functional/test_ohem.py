"""Cross-entropy with online hard example mining against its oracle."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from rankdet.functional import ohem_cross_entropy_loss
from tests.reference import ohem as reference


def run(logits, targets, **options):
    leaf = logits.clone().requires_grad_()
    loss = ohem_cross_entropy_loss(leaf, targets, **options)
    loss.backward()
    return loss.detach(), leaf.grad


def make_rows(seed):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(16, 4, generator=generator, dtype=torch.float64)
    labels = torch.full((16,), 3)
    labels[:5] = torch.tensor([0, 2, -1, 1, 0])
    order = torch.randperm(16, generator=generator)
    images = torch.tensor([4, 4, 9, 9, 9, -1, -1, -1] * 2)
    return logits, labels[order], images


@pytest.mark.parametrize('by_image', [False, True])
@pytest.mark.parametrize('neg_ratio', [0, 0.5, 3.0, 100.0])
@pytest.mark.parametrize('min_negatives', [0, 2])
def test_softmax(by_image, neg_ratio, min_negatives):
    options = dict(neg_ratio=neg_ratio, min_negatives=min_negatives)
    for seed in range(3):
        logits, labels, images = make_rows(seed)
        images = images if by_image else None
        loss, grad = run(logits, labels, image_ids=images, **options)
        value, gradient = reference.ohem_softmax(
            logits.numpy(), labels.tolist(), None if images is None else images.numpy(), **options
        )
        assert loss.item() == pytest.approx(value, abs=1e-13)
        np.testing.assert_allclose(grad, gradient, atol=1e-13)


@pytest.mark.parametrize('by_image', [False, True])
def test_sigmoid_mines_single_logits(by_image):
    logits, labels, images = make_rows(1)
    targets = F.one_hot(labels.clamp(min=0), 5)[:, :4] * (labels >= 0)[:, None]
    targets[labels == -1] = -1
    ids = images if by_image else None
    loss, grad = run(logits, targets, image_ids=ids, use_sigmoid=True, class_indices=False)
    value, gradient = reference.ohem_sigmoid(
        logits.flatten().numpy(),
        targets.flatten().tolist(),
        images.repeat_interleave(4).numpy() if by_image else None,
    )
    assert loss.item() == pytest.approx(value, abs=1e-13)
    np.testing.assert_allclose(grad.flatten(), gradient, atol=1e-13)
    by_index, _ = run(logits, labels.where(labels != 3, 3), image_ids=ids, use_sigmoid=True)
    assert by_index == loss


def test_with_all_negatives_it_is_plain_cross_entropy():
    logits, labels, _ = make_rows(2)
    loss, _ = run(logits, labels, neg_ratio=1e9)
    plain = F.cross_entropy(logits, labels, ignore_index=-1, reduction='sum')
    assert loss.item() == pytest.approx(plain.item() / ((labels >= 0) & (labels < 3)).sum().item())


@pytest.mark.parametrize('by_image', [False, True])
def test_more_negatives_than_an_integer_counts(by_image):
    logits, labels, images = make_rows(2)
    ids = images if by_image else None
    found = run(logits, labels, image_ids=ids, neg_ratio=1e19)
    torch.testing.assert_close(found, run(logits, labels, image_ids=ids, neg_ratio=100))


@pytest.mark.parametrize('by_image', [False, True])
def test_nan_is_not_hidden(by_image):
    logits, labels, images = make_rows(2)
    images = images.sort().values if by_image else None
    logits[(labels == 3).nonzero()[-1]] = float('nan')
    loss, _ = run(logits, labels, image_ids=images, min_negatives=1)
    assert loss.isnan()


def test_ties_keep_exactly_the_quota():
    _, grad = run(torch.zeros(12, 2), torch.tensor([0] + [1] * 11))
    assert grad.abs().sum(1).count_nonzero() == 1 + 3


def test_without_positives_it_is_a_connected_zero():
    loss, grad = run(torch.randn(6, 3), torch.full((6,), 2))
    assert loss == 0 and grad.eq(0).all()


def test_layout_of_a_dense_head():
    logits, labels, _ = make_rows(3)
    images = torch.tensor([0, 1])
    dense = run(logits.view(2, 8, 4), labels.view(2, 8), image_ids=images)
    flat = run(logits, labels, image_ids=images.repeat_interleave(8))
    torch.testing.assert_close(dense[0], flat[0])
    torch.testing.assert_close(dense[1].view(16, 4), flat[1])


def test_wrong_input_is_named():
    logits = torch.zeros(2, 3)
    with pytest.raises(ValueError, match='class_indices must be True for the softmax'):
        ohem_cross_entropy_loss(logits, torch.zeros(2, 3), class_indices=False)
    with pytest.raises(ValueError, match=r'0\.\.1 \(positive class\), 2 .* from 0 to 3'):
        ohem_cross_entropy_loss(logits, torch.tensor([0, 3]))
    with pytest.raises(ValueError, match='neg_ratio'):
        ohem_cross_entropy_loss(logits, torch.tensor([0, 1]), neg_ratio=-1)
    with pytest.raises(ValueError, match=r'min_negatives must be a whole number, got 2\.7'):
        ohem_cross_entropy_loss(logits, torch.tensor([0, 1]), min_negatives=2.7)
