"""Observation 1 of the AP Loss paper: known losses are error-driven too."""

import pytest
import torch
import torch.nn.functional as F

from rankdet.functional import auc_loss, error_driven_loss


@pytest.mark.parametrize('label', range(4))
def test_softmax_gives_the_gradient_of_cross_entropy(label):
    """The error 1 - softmax of the true class, shared by the others as exp(x_ij) (Eq. 15, 17)."""
    x = torch.tensor([0.3, -2.0, 1.5, 0.0], dtype=torch.float64, requires_grad=True)
    F.cross_entropy(x[None], torch.tensor([label])).backward()
    expected, x.grad = x.grad, None
    targets = F.one_hot(torch.tensor(label), 4)
    error = 1 - x.detach().softmax(0)[label]
    error_driven_loss(x, targets, lambda ranking: error[None], share=torch.exp).backward()
    torch.testing.assert_close(x.grad, expected)


@pytest.mark.parametrize('num_pos', [1, 3, 7])
def test_loss_augmented_step_gives_the_gradient_of_hinge(num_pos):
    """The Heaviside step of scores that lead by less than 1 (Eq. 18 to 20), over all pairs."""
    generator = torch.Generator().manual_seed(num_pos)
    x = torch.randn(8, generator=generator, dtype=torch.float64, requires_grad=True)
    targets = (torch.arange(8) < num_pos).long()
    (1 - (x[:num_pos, None] - x[num_pos:])).clamp(min=0).mean().backward()
    expected, x.grad = x.grad, None
    auc_loss(x - targets, targets, delta=0).backward()
    torch.testing.assert_close(x.grad, expected)
    assert expected.any()
