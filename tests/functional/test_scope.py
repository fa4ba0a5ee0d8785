"""Processes that rank together get what one process gets on the union of their batches."""

import os
import tempfile

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from rankdet.functional import alrp_loss, ap_loss, auc_loss, error_driven_loss

# Rows of each process, and whether its targets may be positive.
LAYOUTS = {
    'uneven': ([7, 2], [True, True]),
    'one without positives': ([4, 5], [False, True]),
    'one without anything': ([6, 0], [True, True]),
    'all without positives': ([3, 3], [False, False]),
    'three': ([3, 1, 5], [True, False, True]),
}


def imprecision(ranking):
    return ranking.false_positives / ranking.rank


LOSSES = {
    'ap': lambda *batch, **options: (ap_loss(*batch[:2], **options),),
    'ap hard': lambda *batch, **options: (ap_loss(*batch[:2], delta=0, **options),),
    'ap sigmoid': lambda *batch, **options: (ap_loss(*batch[:2], step='sigmoid', **options),),
    'auc': lambda *batch, **options: (auc_loss(*batch[:2], **options),),
    'alrp': alrp_loss,
    'general': lambda *batch, **options: (
        error_driven_loss(*batch[:2], imprecision, share=torch.exp, **options),
    ),
}


def make_batch(layout):
    rows, may_be_positive = LAYOUTS[layout]
    generator = torch.Generator().manual_seed(len(layout))
    shares = []
    for count, allowed in zip(rows, may_be_positive):
        logits = torch.randn(count, 3, generator=generator, dtype=torch.float64)
        targets = torch.randint(-1, 2, (count, 3), generator=generator)
        targets = targets if allowed else targets.clamp(max=0)
        shares.append(
            (logits, targets, torch.rand(count, 3, dtype=torch.float64, generator=generator))
        )
    return shares


def run(loss, logits, targets, errors, **options):
    logits, errors = logits.clone().requires_grad_(), errors.clone().requires_grad_()
    values = loss(logits, targets, errors, **options)
    sum(weight * value for weight, value in zip((1.0, 3.0), values)).backward()
    gradients = logits.grad, torch.zeros_like(errors) if errors.grad is None else errors.grad
    return [value.detach() for value in values], gradients


def work(rank, size, folder, layouts):
    dist.init_process_group(
        'gloo', init_method=f'file://{folder}/rendezvous', rank=rank, world_size=size
    )
    torch.set_num_threads(1)
    everyone = dist.new_group(list(range(size)))
    alone = [dist.new_group([r]) for r in range(size)][rank]
    found = {}
    for layout in layouts:
        batch = make_batch(layout)[rank]
        for name, loss in LOSSES.items():
            found[layout, name] = run(loss, *batch, scope='global')
            group = run(loss, *batch, scope='global', group=everyone)
            torch.testing.assert_close(group, found[layout, name], rtol=0, atol=0)
            torch.testing.assert_close(
                run(loss, *batch, scope='global', group=alone), run(loss, *batch)
            )
    torch.save(found, os.path.join(folder, f'{rank}.pt'))
    dist.destroy_process_group()


@pytest.mark.skipif(not dist.is_gloo_available(), reason='needs gloo')
@pytest.mark.parametrize('size', [2, 3])
def test_processes_equal_one_on_the_union(size):
    layouts = [name for name, (rows, _) in LAYOUTS.items() if len(rows) == size]
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(work, (size, folder, layouts), nprocs=size)
        found = [torch.load(os.path.join(folder, f'{rank}.pt')) for rank in range(size)]
    for layout in layouts:
        shares = make_batch(layout)
        union = [torch.cat(parts) for parts in zip(*shares)]
        for name, loss in LOSSES.items():
            values, gradients = run(loss, *union)
            results = [share[layout, name] for share in found]
            for process_values, _ in results:
                torch.testing.assert_close(process_values, values, rtol=1e-12, atol=1e-14)
            for which, gradient in enumerate(gradients):
                together = torch.cat([process[1][which] for process in results])
                torch.testing.assert_close(together, gradient, rtol=1e-11, atol=1e-14)
            if layout == 'all without positives':
                assert all(value == 0 for value in values) and gradients[0].eq(0).all()
            else:
                assert values[0] > 0 and gradients[0].ne(0).any()


def test_global_on_one_process_is_batch():
    batch = make_batch('uneven')[0]
    for loss in LOSSES.values():
        torch.testing.assert_close(run(loss, *batch, scope='global'), run(loss, *batch))
