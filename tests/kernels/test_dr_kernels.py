"""DR Loss by kernels equals that of plain torch, which equals the oracle."""

from __future__ import annotations

import pytest
import torch

from rankdet.functional import dr_loss
from rankdet.kernels import dr
from tests.functional.scenes import SCENES, make_scene
from tests.kernels.both import assert_equal, run


def make_images(classes=5, seed=0):
    """Four images of 12 rows, the last one without positives, the first with ignored rows."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(4, 12, classes, generator=generator)
    labels = torch.randint(0, 2 * classes, (4, 12), generator=generator).clamp(max=classes)
    labels[3], labels[0, :4] = classes, -1
    return logits, labels


@pytest.mark.parametrize('name', SCENES)
def test_every_scene(name):
    scores, targets, _ = make_scene(name)
    # 1 - p of a large score holds few digits.
    assert_equal(dr_loss, scores.float(), targets, rtol=5e-6)


@pytest.mark.parametrize(
    'options',
    [
        dict(),
        dict(surrogate='quadratic'),
        dict(surrogate='hinge', margin=0.1),
        dict(pos_lambda=0.05, neg_lambda=1e-3),
        dict(pos_lambda=20.0, neg_lambda=50.0, tau=1.0),
    ],
)
@pytest.mark.parametrize('few', [dr.FEW_ROWS, 0])
def test_every_option_by_image(monkeypatch, few, options):
    monkeypatch.setattr(dr, 'FEW_ROWS', few)
    logits, labels = make_images()
    ids = torch.tensor([7, -2, 7, 0])  # two parts of one image
    assert_equal(dr_loss, logits, labels, class_indices=True, image_ids=ids, rtol=5e-6, **options)


@pytest.mark.parametrize('block', [32, 1024])
def test_blocks_of_any_size(monkeypatch, block):
    monkeypatch.setattr(dr, '_MOST', block)
    logits, labels = make_images()
    assert_equal(dr_loss, logits, labels, class_indices=True, image_ids=torch.arange(4))
    assert_equal(dr_loss, logits, labels, class_indices=True)


@pytest.mark.parametrize('rows, width, images', [(3, 1100, 2), (64, 40, 9), (65, 40, 9)])
def test_many_blocks_and_rows(monkeypatch, rows, width, images):
    """More blocks in a row than a program takes at a time, and as many rows as one compares."""
    monkeypatch.setattr(dr, '_MOST', 32)
    generator = torch.Generator().manual_seed(rows)
    logits = 2 * torch.randn(rows, width, generator=generator)
    targets = torch.randint(-1, 40, logits.shape, generator=generator).clamp(max=1)
    targets = torch.where(targets == 1, 0, targets)
    targets[:, ::37] = 1
    ids = torch.randint(0, images, (rows,), generator=generator) - 3
    targets[ids == ids[0]] = targets[ids == ids[0]].clamp(max=0)  # an image without positives
    ids = ids.to(torch.int8 if rows == 64 else torch.int64)
    assert_equal(dr_loss, logits, targets, image_ids=ids, rtol=1e-5)


@pytest.mark.parametrize('smoothness', [1e-3, 6.5, 300.0])
def test_the_surrogate_far_below_and_above(smoothness):
    logits = torch.tensor([[-30.0] * 20 + [30.0], [30.0] * 20 + [-30.0], [0.0] * 21])
    targets = torch.zeros(3, 21, dtype=torch.int64)
    targets[:, -1] = 1
    for margin in (0.0, 0.5, 0.1):
        options = dict(smoothness=smoothness, margin=margin)
        assert_equal(dr_loss, logits, targets, image_ids=torch.arange(3), rtol=5e-6, **options)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    logits, labels = make_images()
    assert_equal(dr_loss, logits.to(dtype), labels, class_indices=True, incoming=2.0**10)


@pytest.mark.parametrize('dtype', [torch.bool, torch.uint8, torch.int8, torch.float16])
def test_dtype_of_dense_targets(dtype):
    scores, targets, _ = make_scene('random')
    targets = targets.abs() if dtype in (torch.bool, torch.uint8) else targets
    assert_equal(dr_loss, scores.float(), targets.to(dtype))


@pytest.mark.parametrize('extreme', [1e4, 1e38, float('inf')])
def test_extreme_scores(extreme):
    logits, labels = make_images()
    logits[:, 1::3], logits[:, 2::5] = extreme, -extreme
    assert_equal(dr_loss, logits, labels, class_indices=True, image_ids=torch.arange(4))


@pytest.mark.parametrize('target', [0, 1])
def test_nan_is_hidden_in_ignored_scores_only(target):
    scores, targets, _ = make_scene('random')
    scores[targets == -1] = float('nan')
    value, gradient, _ = run('triton', dr_loss, scores.float(), targets)
    assert value.isfinite() and gradient.isfinite().all()
    scores[tuple((targets == target).nonzero()[-1])] = float('nan')
    assert run('triton', dr_loss, scores.float(), targets)[0].isnan()


@pytest.mark.parametrize('label', [-2, 6])
def test_a_label_out_of_range_gives_nan(label):
    logits, labels = make_images()
    labels[1, 1] = label
    assert run('triton', dr_loss, logits, labels, class_indices=True)[0].isnan()
    assert run('triton', dr_loss, logits[..., 0], labels)[0].isnan()


def test_non_contiguous_input():
    logits, labels = make_images()
    strided = logits.transpose(0, 1).contiguous().transpose(0, 1)
    assert_equal(dr_loss, strided, labels.T.contiguous().T, class_indices=True)


def test_compiled_gives_the_same():
    torch._dynamo.reset()
    logits, labels = make_images()

    def call(logits, labels):
        return dr_loss(logits, labels, class_indices=True)

    compiled = torch.compile(call, backend='aot_eager', fullgraph=True)
    wanted = run('triton', call, logits, labels)
    torch.testing.assert_close(run('triton', compiled, logits, labels), wanted)
