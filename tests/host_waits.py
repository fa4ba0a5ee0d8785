"""Operations for which the host would wait, were the tensors on a GPU. Listed on the CPU.

A substitute for the sync debug mode of torch where there is no GPU: it sees what is dispatched, not
what the driver does.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

# Their result's size, or value, is known when the device has done its work.
_WAITING = {
    '_local_scalar_dense', 'nonzero', 'nonzero_numpy', 'masked_select', '_unique', '_unique2',
    'unique_dim', 'unique_consecutive', 'bincount', 'equal', 'allclose', 'is_nonzero',
}  # fmt: skip
# A tensor made of numbers of the host: copied from its pageable memory, which waits too.
_COPIED = {'lift_fresh', 'lift_fresh_copy'}
# By a mask: as many results as there are True values.
_INDEXED = {'index', 'index_put', 'index_put_', '_unsafe_index', '_index_put_impl_'}


# On the CPU these take the memory as it is, and dispatch nothing.
_FETCHED = {Tensor.tolist: 'tolist', Tensor.numpy: 'numpy', Tensor.cpu: 'cpu'}


class HostWaits(TorchDispatchMode):
    """Lists them as they come, in ``found``."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._fetches = _Fetches(self.found)

    def __enter__(self):
        self._fetches.__enter__()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self._fetches.__exit__(*error)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        by_mask = name in _INDEXED and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        )
        by_tensor = name == 'repeat_interleave' and func._overloadname in ('Tensor', 'self_Tensor')
        if name in _WAITING | _COPIED or by_mask or by_tensor:
            self.found.append(name)
        return func(*args, **kwargs)


class _Fetches(TorchFunctionMode):
    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self._found = found

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in _FETCHED:
            self._found.append(_FETCHED[func])
        return func(*args, **(kwargs or {}))
