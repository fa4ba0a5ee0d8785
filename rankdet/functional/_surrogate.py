"""Smooth stand-ins of the hinge."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Surrogate(NamedTuple):
    """What stands for the hinge of z + margin, and its derivative."""

    kind: str
    smoothness: float
    rho: float
    margin: float

    def value(self, z: Tensor) -> Tensor:
        z = z + self.margin
        if self.kind == 'logistic':
            return torch.logaddexp(self.smoothness * z, torch.zeros_like(z)) / self.smoothness
        if self.kind == 'quadratic':
            rounded = (z.clamp(-self.rho, self.rho) + self.rho).square() / (4 * self.rho)
            return rounded + torch.relu(z - self.rho)
        return torch.relu(z)

    def slope(self, z: Tensor) -> Tensor:
        z = z + self.margin
        if self.kind == 'logistic':
            return torch.sigmoid(self.smoothness * z)
        if self.kind == 'quadratic':
            return ((z + self.rho) / (2 * self.rho)).clamp(0, 1)
        return (z > 0).to(z.dtype)
