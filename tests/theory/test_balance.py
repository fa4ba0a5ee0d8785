"""Theorem 2 of the aLRP Loss paper: positives and negatives get gradients of equal magnitude."""

from functools import partial

import pytest
import torch

from rankdet.functional import alrp_loss, ap_loss, auc_loss, error_driven_loss


def ndcg_loss(scores, targets, **options):
    """The paper's third example of its frame."""

    def gain_lost(ranking):
        best, actual = ranking.rank_among_positives, ranking.rank
        return 1 / torch.log2(1 + best) - 1 / torch.log2(1 + actual)

    return error_driven_loss(scores, targets, gain_lost, **options)


def alrp_cls(scores, targets, **options):
    errors = torch.linspace(0, 1, int(targets.eq(1).sum()), dtype=torch.float64)
    return alrp_loss(scores, targets, errors, **options).cls


def squared_share(scores, targets, **options):
    """Another p(j|i), which promotes harder negatives (Sec. 3)."""
    return error_driven_loss(
        scores,
        targets,
        lambda ranking: ranking.false_positives / ranking.rank,
        share=lambda x: (x + 1).clamp(min=0) ** 2,
        **options,
    )


@pytest.mark.parametrize(
    'loss',
    [ap_loss, partial(ap_loss, interpolated=False), auc_loss, alrp_cls, ndcg_loss, squared_share],
)
@pytest.mark.parametrize('delta', [0.0, 0.2, 1.0])
def test_theorem_2(loss, delta):
    generator = torch.Generator().manual_seed(0)
    for num_pos in (1, 10, 190):
        scores = 2 * torch.randn(200, generator=generator, dtype=torch.float64)
        targets = (torch.arange(200) < num_pos).long()
        scores = scores.requires_grad_()
        loss(scores, targets, delta=delta).backward()
        positives, negatives = scores.grad[:num_pos], scores.grad[num_pos:]
        assert (positives <= 0).all() and (negatives >= 0).all()
        assert negatives.abs().sum() > 0
        assert positives.abs().sum().item() == pytest.approx(negatives.abs().sum().item())


def test_the_magnitude_is_the_loss_itself():
    """Where the targets are 0 (Sec. 4.2): what AP Loss sends out is its value."""
    generator = torch.Generator().manual_seed(1)
    scores = torch.randn(200, generator=generator, dtype=torch.float64, requires_grad=True)
    targets = (torch.arange(200) < 20).long()
    loss = ap_loss(scores, targets)
    loss.backward()
    assert scores.grad[:20].abs().sum().item() == pytest.approx(loss.item())
