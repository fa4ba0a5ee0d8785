"""The kernels gather float32: half of what plain torch gathers, counted at the collectives."""

import pytest
import torch
import torch.distributed as dist

from rankdet.functional import use_kernels
from tools.benchmarks.benchmark_global import NUMBER_OF_KERNELS, Counter, compute, formula
from tools.benchmarks.benchmark_losses import make_batch


@pytest.fixture
def alone(tmp_path):
    """A group of one process, which calls every collective."""
    dist.init_process_group('gloo', f'file://{tmp_path}/store', rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.skipif(torch.cuda.is_available(), reason='gloo gathers tensors of the CPU')
@pytest.mark.skipif(not dist.is_gloo_available(), reason='needs gloo')
@pytest.mark.parametrize(
    'loss, gathered', [('ap', 8 + 4 * 40), ('auc', 8 + 4 * 40), ('alrp', 2 * (8 + 4 * 40))]
)
def test_a_gathered_number_has_4_bytes(loss, gathered, alone):
    batch = make_batch(300, 40, 'start', seed=0, device='cpu')
    counter = Counter()
    with use_kernels('triton'), counter.counting():
        compute(loss, batch.logits, batch.targets, batch.errors, 'global')
    assert counter.gathered == gathered
    assert counter.traffic == formula(loss, [40], NUMBER_OF_KERNELS)
