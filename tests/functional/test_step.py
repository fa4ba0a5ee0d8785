"""Sums of the step where torch must not let them depend on timing: on a GPU, when asked so."""

import pytest
import torch

from rankdet.functional import _step, alrp_loss
from tests.functional.scenes import make_scene


@pytest.fixture
def as_on_a_deterministic_gpu(monkeypatch):
    monkeypatch.setattr(_step, '_must_not_depend_on_timing', lambda values: True)
    original = torch.Tensor.cumsum

    def refuse(values, *args, **options):
        assert not values.is_floating_point(), 'cumsum_cuda_kernel is not deterministic'
        return original(values, *args, **options)

    monkeypatch.setattr(torch.Tensor, 'cumsum', refuse)
    return original


@pytest.mark.parametrize('size', [0, 1, 2, 3, 8, 13, 1000])
def test_sums_up_to_each(as_on_a_deterministic_gpu, size):
    values = torch.randn(size, dtype=torch.float64, generator=torch.Generator().manual_seed(size))
    wanted = as_on_a_deterministic_gpu(values, 0)
    torch.testing.assert_close(_step.cumsum(values), wanted, rtol=0, atol=1e-12)


def test_alrp_asks_torch_for_no_sum_that_it_would_refuse(request):
    scores, targets, errors = make_scene('random')

    def run():
        leaves = scores.clone().requires_grad_(), errors.clone().requires_grad_()
        loss = alrp_loss(leaves[0], targets, leaves[1])
        value = loss.cls + 3 * loss.loc
        return value.detach(), *torch.autograd.grad(value, leaves)

    wanted = run()
    request.getfixturevalue('as_on_a_deterministic_gpu')
    torch.testing.assert_close(run(), wanted)
