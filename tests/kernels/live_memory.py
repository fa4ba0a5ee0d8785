"""How many bytes of tensors live at a time, counted without a GPU as they are made."""

from __future__ import annotations

from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from rankdet.functional import _fused, _fused_dr

# The functions behind the operators: what they allocate inside is to be seen.
_INSIDE = {
    'fused_ranking': _fused._rank,
    'fused_ranking_gradient': _fused._write_gradient,
    'fused_dr': _fused_dr._rank,
    'fused_dr_gradient': _fused_dr._write_gradient,
}


class LiveMemory(TorchDispatchMode):
    """``peak`` bytes at once of what was made within; what torch frees inside an operation is not
    seen."""

    def __init__(self, *inputs: Tensor) -> None:
        super().__init__()
        self.peak = 0
        self._before = {StorageWeakRef(x.untyped_storage()) for x in inputs}
        self._living: dict[StorageWeakRef, int] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        inside = _INSIDE.get(func.overloadpacket.__name__)
        if inside is not None:
            with self:
                return inside(*args, **(kwargs or {}))
        result = func(*args, **(kwargs or {}))
        for x in tree_leaves(result):
            if isinstance(x, Tensor):
                storage = x.untyped_storage()
                reference = StorageWeakRef(storage)
                if reference not in self._before:
                    self._living[reference] = storage.nbytes()
        self._living = {r: size for r, size in self._living.items() if not r.expired()}
        self.peak = max(self.peak, sum(self._living.values()))
        return result
