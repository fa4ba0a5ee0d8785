"""Processes that rank together by kernels get what one process gets on the union."""

import os
import tempfile

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from rankdet.functional import alrp_loss, ap_loss, auc_loss, use_kernels
from tests.kernels.both import run

# Rows of each process.
LAYOUTS = {'uneven': [7, 2], 'one without anything': [6, 0]}


def any_ap(logits, targets, errors, **options):
    return ap_loss(logits, targets, **options)


def any_auc(logits, targets, errors, **options):
    return auc_loss(logits, targets, **options)


LOSSES = (any_ap, any_auc, alrp_loss)


def make_batch(layout):
    generator = torch.Generator().manual_seed(len(layout))
    return [
        (
            torch.randn(rows, 3, generator=generator),
            torch.randint(-1, 5, (rows,), generator=generator).clamp(max=3),
            torch.rand(rows, generator=generator).requires_grad_(),
        )
        for rows in LAYOUTS[layout]
    ]


def work(rank, folder):
    dist.init_process_group(
        'gloo', init_method=f'file://{folder}/rendezvous', rank=rank, world_size=2
    )
    torch.set_num_threads(1)
    options = dict(class_indices=True, scope='global')
    found = [
        run('triton', loss, *make_batch(layout)[rank], **options)
        for layout in LAYOUTS
        for loss in LOSSES
    ]
    torch.save(found, os.path.join(folder, f'{rank}.pt'))
    dist.destroy_process_group()


@pytest.mark.skipif(torch.cuda.is_available(), reason='gloo gathers tensors of the CPU')
@pytest.mark.skipif(not dist.is_gloo_available(), reason='needs gloo')
def test_processes_equal_one_on_the_union():
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(work, (folder,), nprocs=2)
        both = [torch.load(os.path.join(folder, f'{rank}.pt')) for rank in range(2)]
    pairs = zip(*both)
    for layout in LAYOUTS:
        union = [torch.cat(parts) for parts in zip(*make_batch(layout))]
        union[2] = union[2].detach().requires_grad_()
        for loss in LOSSES:
            wanted = run('torch', loss, *union, class_indices=True)
            first, second = next(pairs)
            torch.testing.assert_close([first[0], second[0]], [wanted[0]] * 2, rtol=2e-6, atol=2e-6)
            together = [torch.cat(parts) for parts in zip(first[1:], second[1:])]
            torch.testing.assert_close(together, list(wanted[1:]), rtol=2e-6, atol=2e-7)


def test_global_on_one_process_is_batch():
    batch = make_batch('uneven')[0]
    alone = run('triton', alrp_loss, *batch, class_indices=True)
    found = run('triton', alrp_loss, *batch, class_indices=True, scope='global')
    torch.testing.assert_close(found, alone, rtol=0, atol=0)
    with use_kernels('triton'):
        assert ap_loss(torch.zeros(0, 3), torch.zeros(0, 3), scope='global') == 0
