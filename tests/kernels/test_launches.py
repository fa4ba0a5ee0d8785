"""What a loss by the kernels asks the host to launch: as docs/kernels.md says, and no more."""

import re
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from rankdet.functional import (
    _backend,
    _fused,
    _fused_dr,
    alrp_loss,
    ap_loss,
    auc_loss,
    dr_loss,
    use_kernels,
)
from rankdet.kernels import dr, ranking

PAGE = (Path(__file__).parents[2] / 'docs/kernels.md').read_text()
INSIDE = {
    'fused_ranking': _fused._rank,
    'fused_ranking_gradient': _fused._write_gradient,
    'fused_dr': _fused_dr._rank,
    'fused_dr_gradient': _fused_dr._write_gradient,
}
# They launch nothing: views, and memory that is not written.
NOTHING = re.compile(
    r'.*view|detach|slice|select|expand|.*squeeze|.*empty.*|alias|as_strided|t|.*reshape'
)
OPTIONS = dict(class_indices=True)
LOSSES = {  # kernels, and the most operations of torch
    'ap': (12, 12, lambda x, y, e: ap_loss(x, y, **OPTIONS)),
    'auc': (12, 17, lambda x, y, e: auc_loss(x, y, **OPTIONS)),
    'alrp': (13, 25, lambda x, y, e: sum(alrp_loss(x, y, e, **OPTIONS))),
    'dr': (4, 12, lambda x, y, e: dr_loss(x, y, image_ids=torch.arange(8), **OPTIONS)),
}


class Count(TorchDispatchMode):
    """Counts operations, those inside of the kernels' operators too."""

    def __init__(self):
        super().__init__()
        self.operations = []

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        name = function.overloadpacket.__name__
        if name in INSIDE:
            with self:
                return INSIDE[name](*arguments, **(options or {}))
        if not NOTHING.fullmatch(name):
            self.operations.append(name)
        return function(*arguments, **(options or {}))


@pytest.mark.parametrize('name', LOSSES)
def test_launches(name, monkeypatch):
    kernels, most, loss = LOSSES[name]
    launched = []
    monkeypatch.setattr(_backend, 'obstacle_of_machine', lambda device: None)
    for module in (ranking, dr):
        monkeypatch.setattr(module, 'launch', lambda kernel, *_, **__: launched.append(kernel))
    logits = torch.zeros(8, 250, 80, requires_grad=True)
    errors = torch.zeros(8, 250, requires_grad=True)
    labels = torch.zeros(8, 250, dtype=torch.int64)
    with use_kernels('triton'), Count() as count:
        value = loss(logits, labels, errors)
        torch.autograd.grad(value, [logits, errors] if name == 'alrp' else [logits])
    assert len(launched) == kernels
    assert 3 < len(count.operations) <= most, count.operations


def test_the_page_has_these_numbers():
    text = ' '.join(PAGE.split())
    assert '12 kernels of ours for AP and AUC Loss and 13 for aLRP' in text
    assert 'for DR Loss 4 kernels and 12' in text
