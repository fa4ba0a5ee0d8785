"""The list of what the host would wait for misses nothing that it should know."""

import pytest
import torch

from tests.host_waits import HostWaits

WAITS = {
    'item': (lambda x: x.sum().item(), ['_local_scalar_dense']),
    'bool': (lambda x: bool((x > 0).any()), ['_local_scalar_dense']),
    'float': (lambda x: float(x[0]), ['_local_scalar_dense']),
    'tolist': (lambda x: x.tolist(), ['tolist']),
    'numpy': (lambda x: x.numpy(), ['numpy']),
    'cpu': (lambda x: x.cpu(), ['cpu']),
    'nonzero': (lambda x: x.nonzero(), ['nonzero']),
    'mask': (lambda x: x[x > 0], ['index']),
    'write by mask': (lambda x: x.clone().index_put_((x > 0,), x[:3]), ['index_put_']),
    'masked_select': (lambda x: x.masked_select(x > 0), ['masked_select']),
    'unique': (lambda x: x.unique(), ['_unique2']),
    'constant': (lambda x: x.new_tensor([1.0, 2.0]), ['lift_fresh']),
    'repeats': (lambda x: x.repeat_interleave(x.long()), ['repeat_interleave']),
}


@pytest.mark.parametrize('name', WAITS)
def test_waits_are_listed(name):
    call, wanted = WAITS[name]
    with HostWaits() as waits:
        call(torch.arange(4.0))
    assert [found for found in waits.found if found in wanted]


def test_others_are_not():
    x = torch.arange(4.0)
    with HostWaits() as waits:
        x[x.long()], x.new_full((3,), 2.0), torch.where(x > 0, x, 0), x.clamp(min=1).cumsum(0)
        torch.nonzero_static(x, size=2), x.clone().masked_fill_(x > 0, 2), x.repeat_interleave(2)
        x.to(torch.float16), x.split(2), x.sort()
    assert waits.found == []
