"""Registered losses: they validate, call the functional of the same name, weight."""

import inspect

import pytest
import torch
from mmdet.registry import MODELS

import rankdet.plugin  # noqa: F401, registers
from rankdet import functional
from rankdet.models.losses import RankingLoss

FUNCTIONALS = dict(
    APLoss='ap_loss',
    AUCLoss='auc_loss',
    DRLoss='dr_loss',
    OHEMCrossEntropyLoss='ohem_cross_entropy_loss',
    ApproxAPLoss='approx_ap_loss',
    StructuredHingeAPLoss='structured_hinge_ap_loss',
)
# One value other than the default for each option of each loss.
OPTIONS = dict(
    APLoss=dict(delta=0.3, interpolated=False, step='sigmoid', scale=4.0),
    AUCLoss=dict(delta=0.3, step='sigmoid', scale=4.0),
    DRLoss=dict(pos_lambda=0.5, neg_lambda=0.2, smoothness=3.0, margin=0.2, tau=2.0,
                surrogate='quadratic', rho=0.4, pairing='neg_only', neg_ratio=2.0),
    OHEMCrossEntropyLoss=dict(use_sigmoid=True, neg_ratio=1.0, min_negatives=3),
    ApproxAPLoss=dict(scale=3.0, log_space=False, eps=0.1),
    StructuredHingeAPLoss=dict(),
)  # fmt: skip


def make_batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 9, 4, generator=generator)
    labels = torch.full((2, 9), 4)
    labels[0, :3] = torch.tensor([0, 2, -1])
    labels[1, 5] = 1
    return logits, labels, torch.tensor([0, 1])


def build(name, **options):
    return MODELS.build(dict(type=name, **options))


@pytest.mark.parametrize('name', FUNCTIONALS)
@pytest.mark.parametrize('with_options', [False, True])
def test_a_module_is_its_functional_times_the_weight(name, with_options):
    options = OPTIONS[name] if with_options else {}
    module = build(name, loss_weight=2.5, **options)
    logits, labels, images = make_batch()
    if name == 'OHEMCrossEntropyLoss' and not with_options:
        labels = labels.clamp(max=3)
    actual = logits.clone().requires_grad_()
    loss = module(actual, labels, class_indices=True, image_ids=images)
    loss.backward()
    plain = logits.clone().requires_grad_()
    function = getattr(functional, FUNCTIONALS[name])
    expected = function(plain, labels, class_indices=True, image_ids=images, **options)
    expected.backward()
    assert loss.shape == ()
    torch.testing.assert_close(loss, 2.5 * expected)
    torch.testing.assert_close(actual.grad, 2.5 * plain.grad)


@pytest.mark.parametrize('name', FUNCTIONALS)
def test_options_and_defaults_are_those_of_the_functional(name):
    function = inspect.signature(getattr(functional, FUNCTIONALS[name])).parameters
    module = inspect.signature(type(build(name))).parameters
    per_call = {'logits', 'targets', 'class_indices', 'image_ids', 'group'}
    expected = {key: p.default for key, p in function.items() if key not in per_call}
    actual = {key: p.default for key, p in module.items() if key != 'loss_weight'}
    assert actual == expected
    named = build(name, **OPTIONS[name])
    assert named.options == OPTIONS[name]
    for key, value in OPTIONS[name].items():
        assert f'{key}={value!r}' in repr(named)


@pytest.mark.parametrize('name', ['APLoss', 'AUCLoss', 'aLRPLoss'])
def test_scope_image(name):
    logits, labels, images = make_batch()
    batch, image = build(name), build(name, scope='image')
    errors = dict(loc_errors=torch.tensor([0.1, 0.7, 0.4])) if name == 'aLRPLoss' else {}
    value = image(logits, labels, class_indices=True, image_ids=images, **errors)
    pooled = batch(logits, labels, class_indices=True, image_ids=images, **errors)
    assert not torch.equal(torch.stack(list(value)) if errors else value,
                           torch.stack(list(pooled)) if errors else pooled)  # fmt: skip
    with pytest.raises(ValueError, match='image_ids must be given'):
        image(logits, labels, class_indices=True, **errors)


@pytest.mark.parametrize('name', FUNCTIONALS)
def test_what_heads_and_the_host_rely_on(name):
    module = build(name)
    assert isinstance(module, RankingLoss)
    assert not module.needs_loc_errors
    assert module.use_sigmoid is (name != 'OHEMCrossEntropyLoss')
    assert module.prior_prob == (0.5 if name == 'DRLoss' else 0.01)
    assert not hasattr(module, 'num_classes')
    assert module.box_normaliser(7, torch.zeros(())) == 7
    assert module.box_normaliser(0, torch.zeros(())) == 1
    assert not module.state_dict()
    logits, labels, _ = make_batch()
    with pytest.raises(TypeError, match=f'{name} takes no loc_errors'):
        module(logits, labels, class_indices=True, loc_errors=torch.zeros(3))


def test_ohem_asks_for_the_channels_of_its_activation():
    assert build('OHEMCrossEntropyLoss').use_sigmoid is False
    assert build('OHEMCrossEntropyLoss', use_sigmoid=True).use_sigmoid is True


@pytest.mark.parametrize(
    ('name', 'options', 'message'),
    [
        ('APLoss', dict(delta=-1), 'delta'),
        ('APLoss', dict(scope='all'), "scope must be one of .*got 'all'"),
        ('AUCLoss', dict(step='cubic'), "step .*got 'cubic'"),
        ('DRLoss', dict(pairing='none'), "pairing .*got 'none'"),
        ('OHEMCrossEntropyLoss', dict(neg_ratio=-3), 'neg_ratio'),
        ('ApproxAPLoss', dict(eps=0), 'eps'),
        ('StructuredHingeAPLoss', dict(loss_weight=-1), 'loss_weight'),
        ('aLRPLoss', dict(tau=1.0), r'tau must lie in \[0, 1\), got 1.0'),
        ('aLRPLoss', dict(loc_weight=0), 'loc_weight must be a finite number > 0, got 0'),
        ('aLRPLoss', dict(delta=float('nan')), 'delta'),
    ],
)
def test_wrong_options_are_refused_when_the_module_is_built(name, options, message):
    with pytest.raises(ValueError, match=message):
        build(name, **options)
