"""A loss on plain torch and by the kernels, on the same input."""

from __future__ import annotations

import torch

from rankdet.functional import use_kernels

DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'


def run(choice, loss, logits, *inputs, incoming=1.0, **options):
    """Value, gradient of the logits, and of the last input where it asks for one.

    Plain torch runs on the CPU, the kernels on ``DEVICE``.
    """
    device = DEVICE if choice == 'triton' else 'cpu'
    options = {
        key: value.to(device) if isinstance(value, torch.Tensor) else value
        for key, value in options.items()
    }
    logits = logits.to(device, copy=True).requires_grad_()
    inputs = [x.detach().to(device).requires_grad_(x.requires_grad) for x in inputs]
    with use_kernels(choice):
        value = loss(logits, *inputs, **options)
        total = value if isinstance(value, torch.Tensor) else value.cls + 3 * value.loc
        total.backward(torch.tensor(incoming, dtype=total.dtype, device=device))
    of_errors = inputs[-1].grad
    return (
        total.detach().cpu(),
        logits.grad.cpu(),
        torch.zeros(0) if of_errors is None else of_errors.cpu(),
    )


def assert_equal(loss, logits, *inputs, rtol=None, **options):
    """The kernels' results are torch's: values to 2e-6, gradients to 2e-6 of the largest.

    A half precision gradient may differ by one rounding.
    """
    wanted = run('torch', loss, logits, *inputs, **options)
    found = run('triton', loss, logits, *inputs, **options)
    rtol = rtol or 2e-6
    torch.testing.assert_close(found[0], wanted[0], rtol=rtol, atol=rtol)
    for mine, other in zip(found[1:], wanted[1:]):
        assert mine.dtype == other.dtype and mine.shape == other.shape
        unit = 0 if mine.dtype == torch.float32 else torch.finfo(mine.dtype).eps
        scale = other.abs().max().item() if other.numel() else 0
        torch.testing.assert_close(mine, other, rtol=unit, atol=max(rtol, unit) * max(scale, 1e-4))
    return found
