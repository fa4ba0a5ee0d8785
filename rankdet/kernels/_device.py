"""What several kernels share: how they are launched, and small functions for the device."""

from __future__ import annotations

import triton
import triton.language as tl

# Infinite scores stand for huge ones, whose differences are finite in float32.
HUGE = tl.constexpr(3.4028234663852886e38 / 4)

# Places in the tensor of small integers that stays on the device.
COUNT = tl.constexpr(0)  # of the positives
FULLEST = tl.constexpr(1)  # most knots in a cell of the grid
POISON = tl.constexpr(2)  # 1 where a score is NaN or a label out of range
NUMBERS = 3


def launch(kernel: triton.JITFunction, programs: int, *arguments: object, **sizes: object) -> None:
    """Run so many programs of a kernel, on the current device and stream.

    Products are rounded before they are added, as torch does it.
    """
    if programs:
        kernel[(programs,)](*arguments, **sizes, enable_fp_fusion=False)


@triton.jit
def top_bit(x):
    """The largest power of 2 in a scalar, 0 in 0: where a binary search begins."""
    bits = tl.sum(((x >> tl.arange(0, 32)) > 0).to(tl.int32))
    return tl.where(bits > 0, 1 << tl.maximum(bits - 1, 0), 0)


@triton.jit
def clamp_huge(x):
    """Finite scores; NaN stays or becomes huge, and must be reported by the caller."""
    return tl.minimum(tl.maximum(x, -HUGE), HUGE)


@triton.jit
def round_up(x):
    """float64 to float32, never downwards: compares with a float32 as the exact number does."""
    near = x.to(tl.float32)
    bits = near.to(tl.int32, bitcast=True)
    bits = tl.where(near > 0, bits + 1, bits - 1)
    above = tl.where(near == 0, 1.401298464324817e-45, bits.to(tl.float32, bitcast=True))
    return tl.where(near.to(tl.float64) < x, above, near)


@triton.jit
def cell_of(values, low, per_unit, cells):
    """The cell of the grid over the knots: any monotone map will do, if it is always the same."""
    cell = tl.minimum((values - low) * per_unit, cells.to(tl.float32) - 1)
    return tl.maximum(cell, 0).to(tl.int32)


@triton.jit
def number_of_cells(knots, CELLS: tl.constexpr):
    """About eight cells a knot, in a table of ``CELLS``."""
    return tl.minimum(tl.maximum(8 * knots, 1024), CELLS)


@triton.jit
def segments_of(values, active, knots, num_knots, first, low, per_unit, cells, top):
    """How many knots lie at or below each active value: its segment."""
    segment = tl.load(first + cell_of(values, low, per_unit, cells), mask=active, other=0)
    half = top
    while half > 0:
        probe = segment + (half - 1)
        knot = tl.load(knots + probe, mask=active & (probe < num_knots), other=float('inf'))
        segment += tl.where(knot <= values, half, 0)
        half = half // 2
    return segment


@triton.jit
def read_targets(targets, index, inside, CLASSES: tl.constexpr, CLASS_INDICES: tl.constexpr):
    """Which of the scores at ``index`` are negative, and which positive."""
    if CLASS_INDICES:
        label = tl.load(targets + index // CLASSES, mask=inside, other=-1).to(tl.int64)
        is_positive = inside & (label == index % CLASSES)
        is_negative = inside & (label >= 0) & (label != index % CLASSES)
    else:
        label = tl.load(targets + index, mask=inside, other=-1)
        is_positive = inside & (label == 1)
        is_negative = inside & (label == 0)
    return is_negative, is_positive


@triton.jit
def surrogate(z, KIND: tl.constexpr, SMOOTHNESS, RHO):
    """The stand-in of the hinge and its derivative; as in ``rankdet.functional._surrogate``."""
    if KIND == 'logistic':
        x = z * SMOOTHNESS
        e = tl.exp(-tl.abs(x))
        small = e * (1 - e * (0.5 - e / 3))
        value = (tl.maximum(x, 0.0) + tl.where(e < 1e-6, small, tl.log(1 + e))) / SMOOTHNESS
        slope = tl.where(x < 0, e, 1.0) / (1 + e)
    elif KIND == 'quadratic':
        rounded = tl.minimum(tl.maximum(z, -RHO), RHO) + RHO
        value = rounded * rounded / (4 * RHO) + tl.maximum(z - RHO, 0.0)
        slope = tl.minimum(tl.maximum((z + RHO) / (2 * RHO), 0.0), 1.0)
    else:
        value = tl.maximum(z, 0.0)
        slope = tl.where(z > 0, 1.0, 0.0).to(tl.float64)
    return value, slope


# Whether kernels run in the interpreter, on tensors anywhere: decided when Triton is imported.
INTERPRETED = not isinstance(top_bit, triton.JITFunction)
