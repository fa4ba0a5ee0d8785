"""What every loss owes its users, stated once and run over all of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rankdet.functional import _step
from tests.functional.losses import LOSSES, every_loss, losses_where
from tests.functional.scenes import SCENES, Scene, make_scene

every_scene = pytest.mark.parametrize('name', SCENES)


def scene_for(case, name) -> Scene:
    return make_scene(name, rows=2, columns=4) if case.small else make_scene(name)


def run(case, scene, dtype=torch.float64, incoming=None, **options):
    """Value and gradient."""
    logits = scene.scores.to(dtype, copy=True).requires_grad_()
    loss = case.function(logits, scene.targets, scene.errors.to(dtype), **options)
    loss.backward(None if incoming is None else torch.tensor(incoming, dtype=loss.dtype))
    return loss.detach(), logits.grad


def expected(case, scene):
    value, gradient = case.oracle(
        scene.scores.flatten(), scene.targets.flatten(), scene.errors.flatten()
    )
    return float(value), np.asarray(gradient).reshape(scene.scores.shape)


def assert_matches(found, wanted, rtol):
    """Gradients are compared at the scale of the largest, or of 0.01."""
    np.testing.assert_allclose(found[0].double(), wanted[0], rtol=rtol, atol=rtol)
    scale = np.abs(wanted[1]).max(initial=0.01)
    np.testing.assert_allclose(found[1].double(), wanted[1], rtol=rtol, atol=rtol * scale)


@every_scene
@pytest.mark.parametrize('dtype', [torch.float64, torch.float32])
@every_loss
def test_value_and_gradient_are_the_oracles(case, dtype, name):
    if name in ('ties', 'all_equal') and not case.handles_ties:
        pytest.skip('the gradient is not unique')
    scene = scene_for(case, name)
    value, gradient = run(case, scene, dtype)
    assert value.shape == () and value.dtype == dtype
    assert gradient.shape == scene.scores.shape and gradient.dtype == dtype
    rtol = 1e-9 if dtype == torch.float64 else 2e-6
    assert_matches((value, gradient), expected(case, scene), rtol)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@every_loss
def test_half_precision_is_computed_in_float32(case, dtype):
    scene = scene_for(case, 'random')
    scene = Scene(scene.scores.to(dtype).double(), scene.targets, scene.errors.to(dtype).double())
    if not case.handles_ties and scene.scores.unique().numel() < scene.scores.numel():
        pytest.skip('the gradient is not unique')
    value, gradient = run(case, scene, dtype)
    assert value.dtype == torch.float32 and gradient.dtype == dtype
    wanted = expected(case, scene)
    np.testing.assert_allclose(value, wanted[0], rtol=2e-6)
    assert_matches((value, gradient), wanted, torch.finfo(dtype).eps)


@pytest.mark.parametrize('name', ['no_positives', 'all_ignored'])
@losses_where(lambda case: case.zero_without_positives)
def test_zero_without_positives(case, name):
    scene = scene_for(case, name)
    scene.scores[0, 0] = float('inf')  # inf times 0 would be NaN
    value, gradient = run(case, scene)
    assert value == 0 and gradient.eq(0).all()


@losses_where(lambda case: case.zero_without_negatives)
def test_no_gradient_without_negatives(case):
    _, gradient = run(case, scene_for(case, 'no_negatives'))
    assert gradient.eq(0).all()


@pytest.mark.parametrize('shape', [(0,), (0, 4), (3, 0)])
@every_loss
def test_empty_input_is_connected_zero(case, shape):
    nothing = Scene(torch.zeros(shape), torch.zeros(shape), torch.zeros(shape))
    value, gradient = run(case, nothing, torch.float32)
    assert value == 0 and gradient.shape == shape


@losses_where(lambda case: case.zero_sum)
@pytest.mark.parametrize('name', ['random', 'ties', 'huge', 'many_positives', 'trained', 'worst'])
def test_positives_gain_what_negatives_lose(case, name):
    if name == 'ties' and not case.handles_ties:
        pytest.skip('the gradient is not unique')
    scene = scene_for(case, name)
    _, gradient = run(case, scene)
    assert gradient.sum().item() == pytest.approx(0, abs=1e-12)
    assert gradient[scene.targets == -1].eq(0).all()


@losses_where(lambda case: case.margin is not None)
@pytest.mark.parametrize('name', ['random', 'ties', 'huge', 'many_positives', 'worst'])
def test_training_is_balanced(case, name):
    """Theorem 2 of aLRP Loss: summed magnitudes of positives and negatives are equal."""
    scene = make_scene(name)
    _, gradient = run(case, scene)
    positives, negatives = gradient[scene.targets == 1], gradient[scene.targets == 0]
    assert (positives <= 0).all() and (negatives >= -1e-15).all()
    assert positives.abs().sum().item() == pytest.approx(negatives.abs().sum().item(), rel=1e-10)


@losses_where(lambda case: case.margin is not None)
@pytest.mark.parametrize('dtype', [torch.float16, torch.float32, torch.float64])
def test_perfect_ranking_has_no_gradient(case, dtype):
    scene = scene_for(case, 'random')
    gap = scene.scores[scene.targets == 1].min() - scene.scores[scene.targets == 0].max()
    apart = scene.scores + (scene.targets == 1) * (case.margin + 0.02 - gap)
    _, gradient = run(case, scene._replace(scores=apart), dtype)
    assert gradient.eq(0).all()


@every_loss
def test_order_of_the_input_does_not_matter(case):
    scene = scene_for(case, 'random')
    order = torch.randperm(scene.scores.numel(), generator=torch.Generator().manual_seed(0))
    shuffled = Scene(*(field.flatten()[order] for field in scene))
    value, gradient = run(case, scene)
    assert_matches(run(case, shuffled), (value, gradient.flatten()[order].numpy()), 1e-12)


@losses_where(lambda case: case.shift_invariant)
def test_only_differences_of_scores_matter(case):
    scene = scene_for(case, 'random')
    value, gradient = run(case, scene)
    shifted = run(case, scene._replace(scores=scene.scores + 512.0))
    assert_matches(shifted, (value, gradient.numpy()), 1e-9)


@pytest.mark.parametrize('name', ['random', 'no_positives', 'no_negatives'])
@every_loss
def test_ignored_is_as_good_as_removed(case, name):
    scene = scene_for(case, name)
    kept = scene.targets != -1
    scene.scores[~kept] = float('nan')
    value, gradient = run(case, scene)
    alone = run(case, Scene(*(field[kept] for field in scene)))
    assert_matches(alone, (value, gradient[kept].numpy()), 1e-12)
    assert gradient[~kept].eq(0).all()


@pytest.mark.parametrize('target', [0, 1])
@every_loss
def test_nan_is_not_hidden(case, target):
    scene = scene_for(case, 'random')
    place = (scene.targets == target).nonzero()[-1]
    scene.scores[tuple(place)] = float('nan')
    value, gradient = run(case, scene)
    assert value.isnan() or gradient.isnan().any()


@pytest.mark.parametrize('name', ['random', 'no_positives'])
@every_loss
def test_backward_multiplies_the_incoming_gradient(case, name):
    scene = scene_for(case, name)
    value, gradient = run(case, scene)
    assert_matches(run(case, scene, incoming=-2.5), (value, -2.5 * gradient.numpy()), 1e-12)


@every_loss
def test_a_second_derivative_is_refused(case):
    scene = scene_for(case, 'random')
    logits = scene.scores.clone().requires_grad_()
    loss = case.function(logits, scene.targets, scene.errors)
    (gradient,) = torch.autograd.grad(loss.exp(), logits, create_graph=True)
    with pytest.raises(RuntimeError, match='once_differentiable'):
        gradient.square().sum().backward()


@every_loss
def test_parts_of_any_size_add_up(case, monkeypatch):
    """Values and pairs that are taken a few at a time."""
    monkeypatch.setattr(_step, '_CHUNK', 7)
    monkeypatch.setattr(_step, '_PAIRS', 30)
    scene = scene_for(case, 'random')
    assert_matches(run(case, scene), expected(case, scene), 1e-9)


@losses_where(lambda case: case.zero_sum and not case.small)
def test_loss_scaling_saves_small_gradients(case):
    """What underflows in float16 comes back when the loss is scaled first."""
    scene = make_scene('random', rows=400, columns=10)
    scale = 2.0**16
    _, exact = run(case, scene._replace(scores=scene.scores.half().double()), torch.float32)
    _, scaled = run(case, scene, torch.float16, incoming=scale)
    exact = (scale * exact).half()
    torch.testing.assert_close(scaled, exact, rtol=2e-3, atol=1e-4)


@every_loss
def test_second_use_and_accumulation(case):
    scene = scene_for(case, 'random')
    _, once = run(case, scene)
    logits = scene.scores.clone().requires_grad_()
    first = case.function(logits, scene.targets, scene.errors)
    second = case.function(2 * logits, scene.targets, scene.errors)
    _, doubled = run(case, scene._replace(scores=2 * scene.scores))
    (first + first + second).backward(retain_graph=True)
    torch.testing.assert_close(logits.grad, 2 * once + 2 * doubled)
    first.backward()
    torch.testing.assert_close(logits.grad, 3 * once + 2 * doubled)


@every_loss
def test_inputs_are_left_alone(case):
    scene = scene_for(case, 'random')
    before = [field.clone() for field in scene]
    run(case, scene)
    for field, copy in zip(scene, before):
        assert torch.equal(field, copy)


@every_loss
def test_non_contiguous_input(case):
    scene = scene_for(case, 'random')
    wanted = run(case, scene)
    logits = torch.stack([scene.scores.T, scene.scores.T], -1)[..., 0].requires_grad_()
    assert not logits.is_contiguous()
    loss = case.function(logits.T, scene.targets, scene.errors)
    loss.backward()
    assert_matches((loss.detach(), logits.grad.T), (wanted[0], wanted[1].numpy()), 1e-12)


@pytest.mark.parametrize('dtype', [torch.int8, torch.int32, torch.float32, torch.bool])
@every_loss
def test_dtype_of_targets(case, dtype):
    scene = scene_for(case, 'random')
    if dtype == torch.bool:
        scene = scene._replace(targets=scene.targets.abs())
    wanted = run(case, scene)
    found = run(case, scene._replace(targets=scene.targets.to(dtype)))
    assert torch.equal(found[0], wanted[0]) and torch.equal(found[1], wanted[1])


@every_loss
def test_value_without_gradient(case):
    scene = scene_for(case, 'random')
    value, _ = run(case, scene)
    alone = case.function(*scene)
    assert alone == value and not alone.requires_grad
    with torch.no_grad():
        inside = case.function(scene.scores.clone().requires_grad_(), *scene[1:])
    assert inside == value and not inside.requires_grad


@every_loss
def test_autocast_changes_nothing(case):
    scene = scene_for(case, 'random')
    for dtype in (torch.float32, torch.bfloat16):
        if not case.handles_ties and dtype == torch.bfloat16:
            continue
        value, gradient = run(case, scene, dtype)
        with torch.autocast('cpu', dtype=torch.bfloat16):
            inside, inside_gradient = run(case, scene, dtype)
        assert inside == value and torch.equal(inside_gradient, gradient)


@pytest.mark.parametrize(
    'classes, dtype',
    [
        (1, torch.int64),
        (3, torch.int64),
        (255, torch.int8),
        (255, torch.uint8),
        (1203, torch.int16),
        (1203, torch.int64),
    ],
)
@losses_where(lambda case: case.takes_class_indices and not case.small)
def test_class_indices_equal_their_one_hot(case, classes, dtype):
    """Also where the dtype of the labels holds neither -1 nor all of the classes."""
    generator = torch.Generator().manual_seed(classes)
    rows = 12 if classes < 1000 else 3
    logits = torch.randn(2, rows, classes, generator=generator, dtype=torch.float64)
    labels = torch.randint(-1, classes + 1, (2, rows), generator=generator)
    labels[0, :2] = torch.tensor([classes - 1, classes])
    labels = labels.clamp(torch.iinfo(dtype).min, torch.iinfo(dtype).max)
    errors = torch.rand(2, rows, generator=generator, dtype=torch.float64)
    one_hot = torch.nn.functional.one_hot(labels.clamp(min=0), classes + 1)[..., :classes]
    one_hot[labels == -1] = -1
    dense = errors[..., None].expand(-1, -1, classes)
    value, gradient = run(case, Scene(logits, one_hot, dense))
    found = run(case, Scene(logits, labels.to(dtype), errors), class_indices=True)
    assert_matches(found, (value, gradient.numpy()), 1e-12)


@pytest.mark.parametrize('name', ['random', 'no_positives'])
@every_loss
def test_compiled_gives_the_same(case, name):
    torch._dynamo.reset()
    scene = scene_for(case, name)
    compiled = torch.compile(case.function, backend='aot_eager', fullgraph=True)
    logits = scene.scores.clone().requires_grad_()
    loss = 2 * compiled(logits, scene.targets, scene.errors)
    loss.backward()
    value, gradient = run(case, scene)
    assert_matches((loss.detach(), logits.grad), (2 * value, 2 * gradient.numpy()), 1e-12)


@pytest.mark.parametrize('name', ['ap', 'alrp', 'dr', 'ohem_sigmoid'])
def test_compiled_takes_classes_and_images(name):
    torch._dynamo.reset()
    case, scene = LOSSES[name], make_scene('random')
    labels = torch.arange(12) % 7 - 1
    scene = Scene(scene.scores, labels, scene.errors[:, 0])
    options = dict(class_indices=True, image_ids=torch.arange(12) // 4)
    compiled = torch.compile(case.function, backend='aot_eager', fullgraph=True)
    logits = scene.scores.clone().requires_grad_()
    loss = compiled(logits, *scene[1:], **options)
    loss.backward()
    value, gradient = run(case, scene, **options)
    assert_matches((loss.detach(), logits.grad), (value, gradient.numpy()), 1e-12)


@losses_where(lambda case: case.takes_class_indices)
def test_wrong_arguments_are_named(case):
    logits, targets, errors = make_scene('random')
    with pytest.raises(TypeError, match=r'logits must be floating, got torch\.int64'):
        case.function(targets, targets, errors)
    with pytest.raises(TypeError, match='targets must be a tensor, got list'):
        case.function(logits, targets.tolist(), errors)
    with pytest.raises(ValueError, match=r'targets must have the shape of logits, \(12, 5\)'):
        case.function(logits, targets[:5], errors)
    with pytest.raises(ValueError, match='targets must hold 1, 0 and -1 only, got'):
        case.function(logits, targets + 1, errors)
    with pytest.raises(ValueError, match=r'targets must hold 1, 0 and -1 only, got 0\.5'):
        case.function(logits, torch.full_like(logits, 0.5), errors)
