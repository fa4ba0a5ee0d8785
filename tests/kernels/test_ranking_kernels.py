"""AP, AUC and aLRP Loss by kernels equal those of plain torch, which equal the oracles."""

from __future__ import annotations

import pytest
import torch
from torch import tensor

from rankdet.functional import _fused, alrp_loss, ap_loss, auc_loss, use_kernels
from rankdet.kernels import positives, ranking
from rankdet.kernels._device import INTERPRETED
from tests.functional.scenes import SCENES, make_scene
from tests.kernels.both import DEVICE, assert_equal, run


def plain_ap(logits, targets, *errors, **options):
    return ap_loss(logits, targets, interpolated=False, **options)


def any_ap(logits, targets, *errors, **options):
    return ap_loss(logits, targets, **options)


def any_auc(logits, targets, *errors, **options):
    return auc_loss(logits, targets, **options)


LOSSES = {'plain_ap': plain_ap, 'ap': any_ap, 'auc': any_auc, 'alrp': alrp_loss}
every_loss = pytest.mark.parametrize('loss', LOSSES.values(), ids=LOSSES)


def make_rows(rows=40, classes=3, spread=2.0, seed=0):
    """Logits ``(rows, classes)``, class indices with background and ignored rows, errors."""
    generator = torch.Generator().manual_seed(seed)
    logits = spread * torch.randn(rows, classes, generator=generator)
    labels = torch.randint(-1, 2 * classes + 2, (rows,), generator=generator).clamp(max=classes)
    return logits, labels, torch.rand(rows, generator=generator)


@pytest.mark.parametrize('name', SCENES)
def test_every_scene(name):
    scores, targets, errors = make_scene(name)
    errors = errors.float().requires_grad_()
    assert_equal(alrp_loss, scores.float(), targets, errors, incoming=-2.5)


@pytest.mark.parametrize('name', ['ties', 'far_and_close', 'many_positives', 'worst'])
def test_interpolation(name):
    scores, targets, _ = make_scene(name)
    assert_equal(any_ap, scores.float(), targets)


@every_loss
@pytest.mark.parametrize('delta', [0.0, 0.1])
def test_every_rule_by_class_indices(loss, delta):
    logits, labels, errors = make_rows()
    assert_equal(loss, logits, labels, errors, class_indices=True, delta=delta)


@pytest.mark.parametrize('delta', [0.0, 1e-30, 1e-3, 30.0, 1e20])
def test_width_of_the_step_at_large_and_tied_scores(delta):
    scores, targets, errors = make_scene('far_and_close')
    scores = (8 * scores).round() / 8
    assert_equal(alrp_loss, scores.float(), targets, errors.float(), delta=delta)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('incoming', [1.0, 2.0**12])
def test_half_precision(dtype, incoming):
    logits, labels, errors = make_rows()
    options = dict(class_indices=True, incoming=incoming)
    assert_equal(alrp_loss, logits.to(dtype), labels, errors.to(dtype), **options)


@pytest.mark.parametrize('extreme', [1e38, 3.4e38, float('inf')])
def test_extreme_scores(extreme):
    logits, labels, errors = make_rows()
    logits[::3] *= extreme / 100
    logits[1::9], logits[2::9] = extreme, -extreme
    assert logits.isfinite().all() == (extreme < float('inf'))
    assert_equal(alrp_loss, logits, labels, errors, class_indices=True)


@pytest.mark.parametrize(
    'mean, std, positive_mean, positive_std',
    [(-4.6, 0.1, -4.6, 0.1), (-4.0, 1.5, -2.0, 1.5), (-7.0, 1.5, 1.0, 1.5)],
    ids=['start', 'middle', 'trained'],
)
def test_scores_as_in_training(mean, std, positive_mean, positive_std):
    rows, classes = 300, 81
    generator = torch.Generator().manual_seed(rows)
    logits = mean + std * torch.randn(rows, classes, generator=generator)
    labels = torch.full((rows,), classes)
    labels[::7], labels[1::11] = torch.arange(len(labels[::7])) % classes, -1
    positives = torch.randn(rows, classes, generator=generator) * positive_std + positive_mean
    is_positive = torch.nn.functional.one_hot(labels.clamp(min=0), classes + 1)[:, :classes].bool()
    logits = torch.where(is_positive, positives, logits)
    errors = torch.rand(rows, generator=generator)
    assert_equal(alrp_loss, logits, labels, errors, class_indices=True)


@pytest.mark.parametrize('classes', [1, 2, 80, 255, 256, 300])
@pytest.mark.parametrize('dtype', [torch.int8, torch.uint8])
@pytest.mark.parametrize('loss', [any_ap, any_auc])
def test_narrow_labels(classes, dtype, loss):
    logits, labels, _ = make_rows(20, classes)
    # Where the type cannot say background, all are positive.
    labels = labels.clamp(0, min(classes, torch.iinfo(dtype).max)).to(dtype)
    assert_equal(loss, logits, labels, class_indices=True)


@pytest.mark.parametrize('classes', [256, 300])
def test_what_lies_beyond_the_last_row_is_left_alone(classes):
    """-1 in an unsigned byte is 255, a class of so many; rows and classes fill no block."""
    logits = torch.zeros(ranking._PASS, classes, device=DEVICE)  # to be read beyond, if it comes
    guarded = [torch.full((5,), 7, dtype=dtype, device=DEVICE) for dtype in (None, torch.int32)]
    scores, slots = (x[1:-1] for x in guarded)
    numbers = torch.zeros(3, dtype=torch.int32, device=DEVICE)
    ranking.launch(
        positives.find_in_rows, 1, logits, tensor([1, 5, 100], dtype=torch.uint8, device=DEVICE),
        tensor([1, 2, 3], dtype=torch.int32, device=DEVICE), scores, numbers, scores, slots,
        scores, slots, 3, CLASSES=classes, ERRORS='', BLOCK=ranking._PASS,
    )  # fmt: skip
    assert [x.tolist() for x in guarded] == [[7, 0, 0, 0, 7], [7, 0, 1, 2, 7]]
    assert numbers.tolist()[0] == 3


@pytest.mark.parametrize('dtype', [torch.bool, torch.uint8, torch.float16, torch.float64])
def test_dtype_of_dense_targets(dtype):
    scores, targets, _ = make_scene('random')
    targets = targets.abs() if dtype in (torch.bool, torch.uint8) else targets
    assert_equal(any_auc, scores.float(), targets.to(dtype))


@pytest.mark.parametrize('copies', ['one', 'many'])
def test_many_blocks(monkeypatch, copies):
    """All that one block, one program or one copy of the bins could hide."""
    monkeypatch.setattr(ranking, '_PASS', 64)
    monkeypatch.setattr(ranking, '_SMALL', 16)
    monkeypatch.setattr(ranking, '_SCAN', 16)
    monkeypatch.setattr(ranking, '_CLEAR', 64)
    monkeypatch.setattr(ranking, '_MOST_BINS', 0 if copies == 'one' else 1 << 12)
    logits, labels, errors = make_rows(90, 3)
    logits[::4] = (4 * logits[::4]).round() / 4
    assert_equal(alrp_loss, logits, labels, errors, class_indices=True)
    if copies == 'one':
        assert_equal(any_ap, logits, labels, class_indices=True)


def test_positives_counted_or_not(monkeypatch):
    """Few rows are all possible positives; of many, the positives are counted first."""
    logits, labels, errors = make_rows()
    free = run('triton', alrp_loss, logits, labels, errors, class_indices=True)
    monkeypatch.setattr(_fused, '_FEW_ROWS', 0)
    counted = run('triton', alrp_loss, logits, labels, errors, class_indices=True)
    torch.testing.assert_close(counted, free, rtol=0, atol=0)


@pytest.mark.parametrize('name', ['random', 'ties', 'far_and_close'])
def test_positives_sorted_in_pairs_or_by_torch(monkeypatch, name):
    monkeypatch.setattr(_fused, '_MANY_POSITIVES', 0)
    scores, targets, errors = make_scene(name)
    assert_equal(alrp_loss, scores.float(), targets, errors.float())
    scores[targets == 1] = float('nan')
    assert run('triton', alrp_loss, scores.float(), targets, errors.float())[0].isnan()


@pytest.mark.parametrize('layout', ['vector', 'row', 'score'])
def test_layout_of_localisation_errors(layout):
    logits, labels, errors = make_rows()
    is_positive = (labels >= 0) & (labels < 3)
    if layout == 'vector':
        errors = errors[is_positive]
    elif layout == 'row':
        errors = errors.masked_fill(~is_positive, float('nan'))
    else:
        errors = torch.rand(40, 3)
    *_, of_errors = assert_equal(
        alrp_loss, logits, labels, errors.requires_grad_(), class_indices=True
    )
    assert of_errors.count_nonzero() == is_positive.sum()


def test_non_contiguous_input():
    logits, labels, errors = make_rows()
    strided = logits.T.contiguous().T
    assert not strided.is_contiguous()
    every_other = torch.stack([labels, labels], 1)[:, 0]
    assert_equal(alrp_loss, strided, every_other, errors, class_indices=True)


def test_leading_axes():
    logits, labels, errors = make_rows()
    logits, labels = logits.view(2, 20, 3), labels.view(2, 20)
    assert_equal(alrp_loss, logits, labels, errors.view(2, 20), class_indices=True)


@pytest.mark.parametrize('place', ['positive', 'negative', 'error'])
def test_nan_is_not_hidden(place):
    logits, labels, errors = make_rows()
    row = (labels == (3 if place == 'negative' else 1)).nonzero()[0].item()
    if place == 'error':
        errors[row] = float('nan')
    else:
        logits[row, 1] = float('nan')
    value, gradient, _ = run('triton', alrp_loss, logits, labels, errors, class_indices=True)
    assert value.isnan() and gradient.isnan().any()


def test_ignored_rows_may_hold_anything():
    logits, labels, _ = make_rows()
    wanted = run('triton', any_ap, logits, labels, class_indices=True)
    logits[labels == -1] = float('nan')
    torch.testing.assert_close(
        run('triton', any_ap, logits, labels, class_indices=True), wanted, rtol=0, atol=0
    )


@pytest.mark.parametrize('label', [4, -2])
def test_a_label_out_of_range_gives_nan(label):
    logits, labels, _ = make_rows()
    labels[7] = label
    value, _, _ = run('triton', any_ap, logits, labels, class_indices=True)
    assert value.isnan()


def test_wrong_dense_targets_are_refused():
    with pytest.raises(ValueError, match='targets must hold 1, 0 and -1 only'):
        run('triton', any_ap, torch.zeros(4, 3), torch.full((4, 3), 2))


def test_the_gradient_may_be_taken_twice_and_not_from_changed_logits():
    logits, labels, _ = make_rows()
    _, wanted, _ = run('triton', any_ap, logits, labels, class_indices=True)
    leaf = logits.to(DEVICE).requires_grad_()
    changed = leaf * 1
    with use_kernels('triton'):
        value = any_ap(changed, labels.to(DEVICE), class_indices=True)
    value.backward(retain_graph=True)
    value.backward(retain_graph=True)
    torch.testing.assert_close(leaf.grad.cpu(), 2 * wanted)
    changed.add_(1)
    with pytest.raises(RuntimeError, match='modified by an inplace operation'):
        value.backward()


def test_value_without_gradient():
    logits, labels, _ = make_rows()
    value, _, _ = run('triton', any_ap, logits, labels, class_indices=True)
    with use_kernels('triton'):
        alone = any_ap(logits.to(DEVICE), labels.to(DEVICE), class_indices=True)
    assert not alone.requires_grad and alone.cpu() == value


@pytest.mark.parametrize('by_row', [True, False])
def test_results_do_not_depend_on_the_order_of_programs(monkeypatch, by_row):
    for name in ('_PASS', '_SMALL', '_SORT'):
        monkeypatch.setattr(ranking, name, 64 if name == '_PASS' else 16)
    monkeypatch.setattr(_fused, '_FEW_ROWS', 1 << 20 if by_row else 0)
    logits, labels, errors = make_rows(90, 3)
    logits[::4] = (4 * logits[::4]).round() / 4
    inputs = logits, labels, errors.requires_grad_()
    first = run('triton', alrp_loss, *inputs, class_indices=True)
    if INTERPRETED:  # which runs them one after the other
        from triton.runtime.interpreter import interpreter_builder as builder

        straight = builder.set_grid_idx
        monkeypatch.setattr(
            builder, 'set_grid_idx', lambda x, y, z: straight(builder.grid_dim[0] - 1 - x, y, z)
        )
    second = run('triton', alrp_loss, *inputs, class_indices=True)
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_compiled_gives_the_same():
    torch._dynamo.reset()
    logits, labels, errors = make_rows()

    def call(logits, labels, errors):
        loss = alrp_loss(logits, labels, errors, class_indices=True)
        return loss.cls + loss.loc

    compiled = torch.compile(call, backend='aot_eager', fullgraph=True)
    wanted = run('triton', call, logits, labels, errors.requires_grad_())
    torch.testing.assert_close(run('triton', compiled, logits, labels, errors), wanted)


def test_the_smallest_input():
    assert_equal(any_ap, tensor([[0.5]]), tensor([0]), class_indices=True)
    assert_equal(any_ap, tensor([0.5]), tensor([0]))


def test_weights_of_no_error_do_not_queue_at_one_place():
    """One addition each and row; most rows are no positives."""
    labels = torch.full((300,), 4, device=DEVICE)
    labels[7:9] = 1
    found = ranking.find_positives(
        torch.zeros(1200, device=DEVICE), labels, torch.ones(300, device=DEVICE)
    )
    assert sorted(found.error_places[:2].tolist()) == [7, 8]
    assert found.error_places.unique().numel() >= 298
