"""aLRPLoss: its pair of values and the state of self-balancing."""

import pytest
import torch
from mmdet.registry import MODELS

import rankdet.plugin  # noqa: F401, registers
from rankdet.functional import alrp_loss


def build(**options):
    return MODELS.build(dict(type='aLRPLoss', **options))


def make_batch(seed, num_pos=4):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(40, generator=generator)
    targets = (torch.arange(40) < num_pos).long()
    return logits, targets, torch.rand(num_pos, generator=generator)


def call(module, batch):
    logits, targets, errors = batch
    return module(logits, targets, loc_errors=errors)


def test_pair_is_weighted():
    module = build(loss_weight=0.5)
    logits, targets, errors = make_batch(0)
    logits, errors = logits.requires_grad_(), errors.requires_grad_()
    cls, loc = module(logits, targets, loc_errors=errors)
    (cls + loc).backward()
    plain_logits = logits.detach().clone().requires_grad_()
    plain_errors = errors.detach().clone().requires_grad_()
    plain = alrp_loss(plain_logits, targets, plain_errors)
    (plain.cls + plain.loc).backward()
    torch.testing.assert_close(cls, 0.5 * plain.cls)
    torch.testing.assert_close(loc, 0.5 * 50 * plain.loc)
    torch.testing.assert_close(logits.grad, 0.5 * plain_logits.grad)
    torch.testing.assert_close(errors.grad, 0.5 * 50 * plain_errors.grad)


def test_weight_becomes_the_ratio_of_the_unweighted_means():
    module = build(loss_weight=0.3)
    batches = [make_batch(seed) for seed in range(3)]
    for batch in batches:
        call(module, batch)
        module.merge_sums()
    assert module.sb_weight == 50
    module.rebalance()
    parts = [alrp_loss(*batch) for batch in batches]
    expected = sum(p.cls + p.loc for p in parts) / sum(p.loc for p in parts)
    assert module.sb_weight.item() == pytest.approx(expected.item())
    assert module.sb_sums.eq(0).all() and module.sb_pending.eq(0).all()


def test_merging_often_or_once_is_the_same():
    often, once = build(), build()
    for seed in range(4):
        call(often, make_batch(seed))
        often.merge_sums()
        call(once, make_batch(seed))
    often.rebalance()
    once.rebalance()
    assert often.sb_weight == once.sb_weight != 50


def test_a_resumed_period_ends_with_the_same_weight():
    whole, first, second = build(), build(), build()
    for seed in range(4):
        for module in (whole, first if seed < 2 else second):
            call(module, make_batch(seed))
            module.merge_sums()
        if seed == 1:
            second.load_state_dict(first.state_dict())
    whole.rebalance()
    second.rebalance()
    assert second.sb_weight == whole.sb_weight


def test_iterations_without_positives_or_with_nan_are_skipped():
    module = build()
    call(module, make_batch(0))
    expected = module.sb_pending.clone()
    logits, targets, errors = make_batch(1, num_pos=0)
    cls, loc = module(logits.requires_grad_(), targets, loc_errors=errors)
    assert cls == 0 and loc == 0
    assert torch.equal(module.sb_pending, expected)
    logits, targets, errors = make_batch(1)
    for value in (float('nan'), float('inf')):
        errors[0] = value
        call(module, (logits, targets, errors))
    _, _, counted, skipped = module.sb_pending.tolist()
    assert (counted, skipped) == (1, 2)
    assert torch.equal(module.sb_pending[:3], expected[:3])


def test_a_period_without_positives_keeps_the_weight():
    module = build(loc_weight=7)
    call(module, make_batch(0, num_pos=0))
    module.rebalance()
    assert module.sb_weight == 7


def test_evaluation_leaves_no_trace():
    module = build().eval()
    call(module, make_batch(0))
    assert module.sb_pending.eq(0).all()


@pytest.mark.parametrize('weight', [1.0, 12.0])
def test_constant_weight(weight):
    module = build(self_balance=False, loc_weight=weight)
    batch = make_batch(0)
    for _ in range(2):
        torch.testing.assert_close(call(module, batch).loc, weight * alrp_loss(*batch).loc)
        module.rebalance()
    # It is the config's, and no checkpoint overrides it.
    assert not module.state_dict()


def test_a_loss_of_the_last_period_keeps_its_weight():
    module = build()
    logits, targets, errors = make_batch(0)
    errors.requires_grad_()
    loss = module(logits, targets, loc_errors=errors)
    module.rebalance()
    loss.loc.backward()
    plain = errors.detach().clone().requires_grad_()
    alrp_loss(logits, targets, plain).loc.backward()
    torch.testing.assert_close(errors.grad, 50 * plain.grad)


def test_sums_stay_wide_in_a_half_precision_model():
    module = build().half()
    logits, targets, errors = make_batch(0)
    for _ in range(3):
        call(module, (logits.half(), targets, errors.half()))
    assert module.sb_pending.dtype == torch.float64
    assert torch.equal(module.state_dict()['sb_weight'], torch.tensor(50.0).double())


def test_loc_errors_are_required():
    logits, targets, _ = make_batch(0)
    with pytest.raises(TypeError, match='aLRPLoss needs loc_errors'):
        build()(logits, targets)


def test_what_a_head_reads():
    module = build(tau=0.7)
    assert module.needs_loc_errors and module.use_sigmoid and module.tau == 0.7
    assert 'tau=0.7' in repr(module) and 'self_balance=True' in repr(module)
