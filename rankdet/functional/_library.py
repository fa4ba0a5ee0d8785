"""The library in which torch finds rankdet's operators."""

from __future__ import annotations

from collections.abc import Callable

import torch

_LIBRARY = torch.library.Library('rankdet', 'FRAGMENT')


def define_operator(name: str, schema: str, run: Callable, describe: Callable) -> Callable:
    """An operator that :func:`torch.compile` does not look into.

    :func:`torch.library.custom_op` would do as well, but loads the whole compiler (seconds, and
    all of sympy) with the first call, compiled or not.

    Args:
        name: within ``torch.ops.rankdet``.
        schema: arguments and results.
        run: computes the results, on any device; called without autograd.
        describe: gives empty tensors like the results, for the compiler.
    """
    _LIBRARY.define(name + schema)
    _LIBRARY.impl(name, run, 'CompositeExplicitAutograd')
    torch.library.register_fake(f'rankdet::{name}', describe, lib=_LIBRARY)
    return getattr(torch.ops.rankdet, name).default
