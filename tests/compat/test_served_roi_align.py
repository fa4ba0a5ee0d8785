"""RoIAlign against a loop over bins and samples, its gradient against autograd through it."""

import math

import pytest
import torch

import rankdet.compat

rankdet.compat.install()

import mmcv.ops  # noqa: E402


def slow_sample(plane, y: float, x: float):
    """Bilinear value at a point; within one pixel of the border the border, beyond it 0."""
    height, width = plane.shape
    if not (-1 <= y <= height and -1 <= x <= width):
        return plane.sum() * 0
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    top, left = math.floor(y), math.floor(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    upper = plane[top, left] * (1 - (x - left)) + plane[top, right] * (x - left)
    lower = plane[bottom, left] * (1 - (x - left)) + plane[bottom, right] * (x - left)
    return upper * (1 - (y - top)) + lower * (y - top)


def slow_roi_align(features, rois, size, scale, sampling_ratio, aligned):
    out = []
    for roi in rois.double().tolist():
        x1, y1, x2, y2 = (c * scale - 0.5 * aligned for c in roi[1:])
        width, height = x2 - x1, y2 - y1
        if not aligned:
            width, height = max(width, 1.0), max(height, 1.0)
        bin_h, bin_w = height / size[0], width / size[1]
        grid_h, grid_w = sampling_ratio or math.ceil(bin_h), sampling_ratio or math.ceil(bin_w)
        for plane in features[int(roi[0])]:
            for i in range(size[0]):
                for j in range(size[1]):
                    samples = [
                        slow_sample(
                            plane,
                            y1 + (i + (a + 0.5) / grid_h) * bin_h,
                            x1 + (j + (b + 0.5) / grid_w) * bin_w,
                        )
                        for a in range(grid_h)
                        for b in range(grid_w)
                    ]
                    out.append(sum(samples, plane.sum() * 0) / max(len(samples), 1))
    return torch.stack(out).view(len(rois), features.shape[1], *size)


FEATURES = torch.rand(2, 2, 7, 9, generator=torch.Generator().manual_seed(0)).double()
ROIS = torch.tensor(
    [
        [0, 1.3, 2.2, 15.1, 9.7],
        [1, 0.0, 0.0, 35.0, 27.0],
        [1, -9.0, -6.0, 12.0, 50.0],  # reaches beyond the image
        [0, 20.0, 11.0, 20.5, 11.2],  # smaller than a feature cell
        [0, 8.0, 8.0, 8.0, 8.0],  # empty
        [1, 100.0, 100.0, 120.0, 110.0],  # outside
    ],
    dtype=torch.float64,
)


@pytest.mark.parametrize('aligned', [False, True])
@pytest.mark.parametrize('sampling_ratio', [0, 1, 2])
@pytest.mark.parametrize(('size', 'scale'), [((2, 2), 0.25), ((3, 2), 0.5), ((1, 1), 1.0)])
def test_roi_align(size, scale, sampling_ratio, aligned):
    features = FEATURES.clone().requires_grad_()
    align = mmcv.ops.RoIAlign(size, scale, sampling_ratio, aligned=aligned)
    found = align(features, ROIS)
    incoming = torch.randn(found.shape, generator=torch.Generator().manual_seed(1)).double()
    (found_grad,) = torch.autograd.grad(found, features, incoming)

    expected = slow_roi_align(features, ROIS, size, scale, sampling_ratio, aligned)
    (expected_grad,) = torch.autograd.grad(expected, features, incoming)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(found_grad, expected_grad)


@pytest.mark.parametrize(
    ('dtype', 'tolerance'),
    [(torch.float32, 1e-5), (torch.float16, 2e-3), (torch.bfloat16, 1e-2)],
)
def test_roi_align_dtypes(dtype, tolerance):
    # Coordinates that 16 bits hold exactly: the features' rounding is then the only one.
    rois = ROIS[1:3].to(dtype)
    features = FEATURES.to(dtype).requires_grad_()
    found = mmcv.ops.roi_align(features, rois, (2, 2), 0.25, 2, 'avg', True)
    found.sum().backward()
    assert found.dtype == features.grad.dtype == dtype

    exact = features.detach().double().requires_grad_()
    expected = slow_roi_align(exact, rois, (2, 2), 0.25, 2, True)
    expected.sum().backward()
    torch.testing.assert_close(found.double(), expected, atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(features.grad.double(), exact.grad, atol=tolerance, rtol=tolerance)


def test_no_rois_and_strided_gradient():
    features = FEATURES.float().requires_grad_()
    found = mmcv.ops.roi_align(features, ROIS[:0].float(), (2, 2), 0.25, 2)
    found.sum().backward()
    assert found.shape == (0, 2, 2, 2)
    assert not features.grad.any()

    first, second = FEATURES.clone().requires_grad_(), FEATURES.clone().requires_grad_()
    incoming = torch.rand(2, 2, len(ROIS), 2, dtype=torch.float64).permute(2, 3, 0, 1)
    mmcv.ops.roi_align(first, ROIS, (2, 2), 0.25, 2).backward(incoming)
    mmcv.ops.roi_align(second, ROIS, (2, 2), 0.25, 2).backward(incoming.contiguous())
    assert torch.equal(first.grad, second.grad)
