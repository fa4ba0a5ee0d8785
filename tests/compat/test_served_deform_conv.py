"""Deformable convolutions against a loop over taps, gradients against autograd through it."""

import itertools

import pytest
import torch
from torch import nn

import rankdet.compat

rankdet.compat.install()

import mmcv.ops  # noqa: E402


def slow_sample(image, y, x):
    """Bilinear values (C,) at the point (y, x) of ``image`` (C, H, W); 0 outside of it."""
    _, height, width = image.shape
    top, left = int(torch.floor(y)), int(torch.floor(x))
    value = image[:, 0, 0] * 0
    for i, j in itertools.product((top, top + 1), (left, left + 1)):
        if 0 <= i < height and 0 <= j < width:
            value = value + image[:, i, j] * (1 - abs(y - i)) * (1 - abs(x - j))
    return value


def slow_deform_conv(
    image, offset, mask, weight, bias, stride, padding, dilation, groups, deform_groups
):
    outputs, _, rows, cols = weight.shape
    per_group = image.shape[1] // deform_groups
    taps = list(itertools.product(range(rows), range(cols)))
    result = []
    for n, oy, ox in itertools.product(range(len(image)), *map(range, offset.shape[2:])):
        columns = []  # (taps, C)
        for t, (i, j) in enumerate(taps):
            parts = []
            for g in range(deform_groups):
                channel = g * len(taps) + t
                y = oy * stride[0] - padding[0] + i * dilation[0] + offset[n, 2 * channel, oy, ox]
                x = (
                    ox * stride[1]
                    - padding[1]
                    + j * dilation[1]
                    + offset[n, 2 * channel + 1, oy, ox]
                )
                part = slow_sample(image[n, g * per_group : (g + 1) * per_group], y, x)
                parts.append(part if mask is None else part * mask[n, channel, oy, ox])
            columns.append(torch.cat(parts))
        inputs = torch.stack(columns, 1).view(groups, 1, -1)
        filters = weight.view(groups, outputs // groups, -1)
        result.append((inputs * filters).sum(-1).flatten())
    out = torch.stack(result, -1).view(outputs, len(image), *offset.shape[2:]).transpose(0, 1)
    return out if bias is None else out + bias[:, None, None]


CASES = [
    # kernel, stride, padding, dilation, groups, deform_groups
    ((3, 3), (1, 1), (1, 1), (1, 1), 1, 1),
    ((3, 2), (2, 1), (0, 2), (1, 2), 1, 2),
    ((2, 3), (1, 2), (1, 0), (2, 1), 2, 1),
    ((1, 1), (1, 1), (0, 0), (1, 1), 2, 4),
]


def operands(kernel, stride, padding, dilation, groups, deform_groups, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)

    def random(*shape, scale=1.0):
        value = torch.randn(shape, generator=generator, dtype=torch.float64) * scale
        return value.to(dtype).requires_grad_()

    image = random(2, 4, 6, 5)
    out = [
        (size + 2 * p - d * (k - 1) - 1) // s + 1
        for size, k, s, p, d in zip(image.shape[2:], kernel, stride, padding, dilation)
    ]
    taps = deform_groups * kernel[0] * kernel[1]
    offset = random(2, 2 * taps, *out, scale=1.5)  # far enough to leave the image now and then
    mask = random(2, taps, *out)
    return image, offset, mask, random(6, 4 // groups, *kernel), random(6)


def assert_same(found, expected, leaves, **tolerance):
    torch.testing.assert_close(found, expected, **tolerance)
    incoming = torch.randn(found.shape, generator=torch.Generator().manual_seed(1)).to(found)
    found_grads = torch.autograd.grad(found, leaves, incoming)
    expected_grads = torch.autograd.grad(expected, leaves, incoming)
    for found_grad, expected_grad in zip(found_grads, expected_grads):
        torch.testing.assert_close(found_grad, expected_grad, **tolerance)


@pytest.mark.parametrize('case', CASES)
def test_deform_conv(case):
    _kernel, *geometry = case
    image, offset, _, weight, _ = operands(*case)
    found = mmcv.ops.deform_conv2d(image, offset, weight, *geometry)
    expected = slow_deform_conv(image, offset, None, weight, None, *geometry)
    assert_same(found, expected, (image, offset, weight))


@pytest.mark.parametrize('with_bias', [False, True])
@pytest.mark.parametrize('case', CASES)
def test_modulated_deform_conv(case, with_bias):
    _kernel, *geometry = case
    image, offset, mask, weight, bias = operands(*case)
    leaves = (image, offset, mask, weight, *([bias] if with_bias else []))
    bias = bias if with_bias else None
    found = mmcv.ops.modulated_deform_conv2d(image, offset, mask, weight, bias, *geometry)
    expected = slow_deform_conv(image, offset, mask, weight, bias, *geometry)
    assert_same(found, expected, leaves)


def test_float32():
    case = CASES[1]
    image, offset, mask, weight, bias = operands(*case, dtype=torch.float32)
    found = mmcv.ops.modulated_deform_conv2d(image, offset, mask, weight, bias, *case[1:])
    exact = [t.detach().double() for t in (image, offset, mask, weight, bias)]
    expected = slow_deform_conv(*exact, *case[1:])
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_sixteen_bits_round_the_result_only(dtype):
    case = CASES[0]
    image, offset, _, weight, _ = operands(*case, dtype=dtype)
    found = mmcv.ops.deform_conv2d(image, offset, weight, *case[1:])
    exact = [t.detach().double() for t in (image, offset, weight)]
    expected = slow_deform_conv(exact[0], exact[1], None, exact[2], None, *case[1:])
    assert found.dtype == dtype
    tolerance = 2 * torch.finfo(dtype).eps
    torch.testing.assert_close(found.double(), expected, atol=tolerance, rtol=tolerance)
    grads = torch.autograd.grad(found.sum(), (image, offset, weight))
    assert all(grad.dtype == dtype for grad in grads)


def test_im2col_step_changes_nothing():
    case = CASES[0]
    image, offset, _, weight, _ = operands(*case)
    results = []
    for step in (1, 2, 32):
        out = mmcv.ops.deform_conv2d(image, offset, weight, *case[1:], False, step)
        results.append((out, *torch.autograd.grad(out.square().sum(), (image, offset, weight))))
    for other in results[1:]:
        torch.testing.assert_close(other, results[0])


def test_gradients_that_nobody_asked_for():
    case = CASES[0]
    image, offset, _, weight, _ = (t.detach() for t in operands(*case))
    weight.requires_grad_()
    mmcv.ops.deform_conv2d(image, offset, weight, *case[1:]).sum().backward()
    expected = weight.grad.clone()
    image.requires_grad_()
    weight.grad = None
    mmcv.ops.deform_conv2d(image, offset, weight, *case[1:]).sum().backward()
    torch.testing.assert_close(weight.grad, expected)
    assert image.grad.any()
    assert offset.grad is None


def test_scratch_and_scale_of_the_bindings():
    """Gradients add up in the given tensors, scaled where the binding takes a scale."""
    from rankdet.compat.ops import deform_conv_backward_parameters

    case = CASES[0]
    image, offset, _, weight, _ = (t.detach() for t in operands(*case))
    weight.requires_grad_()
    out = mmcv.ops.deform_conv2d(image, offset, weight, *case[1:])
    incoming = torch.ones_like(out)
    (grad,) = torch.autograd.grad(out, weight, incoming)
    given = torch.full_like(weight, 3.0).detach()
    scratch = image.new_empty(0)
    geometry = dict(kW=3, kH=3, dW=1, dH=1, padW=1, padH=1, dilationW=1, dilationH=1)
    geometry |= dict(group=1, deformable_group=1, scale=0.5, im2col_step=2)
    deform_conv_backward_parameters(image, offset, incoming, given, scratch, scratch, **geometry)
    torch.testing.assert_close(given, 3 + 0.5 * grad)


@pytest.mark.parametrize('name', ['DCN', 'DCNv2'])
def test_layers_without_offsets_are_convolutions(name):
    """A fresh layer predicts offsets 0 (and mask 1/2): an ordinary convolution."""
    from mmengine.registry import MODELS

    layer = MODELS.build(dict(type=name, in_channels=4, out_channels=6, kernel_size=3, padding=1))
    image = torch.randn(2, 4, 6, 5)
    mask = 0.5 if name == 'DCNv2' else 1.0
    expected = nn.functional.conv2d(image, layer.weight * mask, padding=1)
    torch.testing.assert_close(layer(image), expected, atol=1e-5, rtol=1e-5)
    layer(image).sum().backward()
    assert all(parameter.grad is not None for parameter in layer.parameters())
