"""Two processes that rank together train as one process does on all their data."""

import torch
import torch.distributed as dist
from torch.multiprocessing import spawn

from rankdet.models.losses import APLoss, AUCLoss, aLRPLoss

# Uneven shares; the second process has a single positive.
SHARES = (slice(0, 22), slice(22, 30))


def make_batch(seed):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(30, generator=generator, dtype=torch.float64)
    targets = torch.zeros(30, dtype=torch.int64)
    targets[[1, 5, 6, 20, 25]] = 1
    targets[9] = -1
    return logits, targets, torch.rand(30, generator=generator, dtype=torch.float64)


def run(loss, logits, targets, errors):
    """Values and gradients of logits and errors."""
    logits, errors = logits.clone().requires_grad_(), errors.clone().requires_grad_()
    extra = dict(loc_errors=errors) if loss.needs_loc_errors else {}
    values = loss(logits, targets, **extra)
    values = torch.stack(list(values) if loss.needs_loc_errors else [values])
    values.sum().backward()
    return values.detach(), logits.grad, errors.grad


def together(rank, store):
    torch.set_num_threads(1)
    dist.init_process_group('gloo', f'file://{store}', rank=rank, world_size=2)
    try:
        for cls in (APLoss, AUCLoss, aLRPLoss):
            alone, shared = cls(loss_weight=0.7), cls(loss_weight=0.7, scope='global')
            for seed in range(2):
                batch = make_batch(seed)
                values, *gradients = run(alone, *batch)
                found, *shares = run(shared, *(field[SHARES[rank]] for field in batch))
                torch.testing.assert_close(found, values)
                for share, gradient in zip(shares, gradients):
                    if gradient is not None:
                        # DistributedDataParallel divides the sum over processes by their number.
                        torch.testing.assert_close(share / 2, gradient[SHARES[rank]])
            num_positives = (batch[1][SHARES[rank]] == 1).sum().item()
            assert shared.box_normaliser(num_positives, found) == 5 / 2
            assert shared.box_normaliser(0, found) == 1 / 2
            assert alone.box_normaliser(num_positives, found) == num_positives
        self_balancing(rank)
    finally:
        dist.destroy_process_group()


def self_balancing(rank):
    local, everyone = aLRPLoss(), aLRPLoss(scope='global')
    totals = torch.zeros(2, dtype=torch.float64)
    for seed in range(3):
        for part in SHARES:
            values, *_ = run(aLRPLoss(loc_weight=1.0), *(f[part] for f in make_batch(seed)))
            totals += torch.stack([values.sum(), values[1]])
        run(local, *(field[SHARES[rank]] for field in make_batch(seed)))
        run(everyone, *(field[SHARES[rank]] for field in make_batch(seed)))
        local.merge_sums()
        # Within a period each process could write the checkpoint.
        sums = [torch.zeros(4, dtype=torch.float64) for _ in range(2)]
        dist.all_gather(sums, local.sb_sums)
        assert torch.equal(*sums) and sums[0][2] == 2 * (seed + 1)
    local.rebalance()
    torch.testing.assert_close(local.sb_weight, totals[0] / totals[1])
    everyone.rebalance()
    weights = [torch.zeros((), dtype=torch.float64) for _ in range(2)]
    dist.all_gather(weights, everyone.sb_weight)
    assert torch.equal(*weights)

    single = aLRPLoss()
    for seed in range(3):
        run(single, *make_batch(seed))
    single.merge_sums = lambda: None  # this process alone
    single.sb_sums += single.sb_pending
    single.rebalance()
    torch.testing.assert_close(everyone.sb_weight, single.sb_weight)


def test_processes_rank_and_balance_together(tmp_path):
    spawn(together, (str(tmp_path / 'store'),), nprocs=2)
