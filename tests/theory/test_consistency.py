"""Observation 1 of the AP Loss paper: known losses are error-driven too."""

import pytest
import torch
import torch.nn.functional as F


def error_driven(activation, desired, x):
    """Gradient of x under the update of Eq. 8: minus (desired output - current output)."""
    return -(desired - activation(x))


@pytest.mark.parametrize('label', range(4))
def test_softmax_gives_the_gradient_of_cross_entropy(label):
    x = torch.tensor([0.3, -2.0, 1.5, 0.0], dtype=torch.float64, requires_grad=True)
    F.cross_entropy(x[None], torch.tensor([label])).backward()
    desired = F.one_hot(torch.tensor(label), 4)
    update = error_driven(lambda z: z.softmax(0), desired, x.detach())  # Eq. 15, 17
    torch.testing.assert_close(x.grad, update)


@pytest.mark.parametrize('label', [0, 1])
@pytest.mark.parametrize('score', [-2.5, -1.5, -0.5, 0.0, 0.5, 1.5, 2.5])
def test_loss_augmented_step_gives_the_gradient_of_hinge(label, score):
    x = torch.tensor([-score, score], dtype=torch.float64, requires_grad=True)
    (1 - x[label]).clamp(min=0).backward()  # Eq. 19
    update = error_driven(lambda z: (z - 1 >= 0).double(), 1.0, x.detach())  # Eq. 18
    update[1 - label] = 0  # "we do not care": it does not contribute to the loss
    torch.testing.assert_close(x.grad, update)  # Eq. 20
