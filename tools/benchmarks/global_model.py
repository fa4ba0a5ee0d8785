"""What ranking together costs beyond ranking alone: one formula, for a few processes and for many.

    latency x steps of each collective  +  bytes sent / bandwidth  +  w(P of all) - w(P of one)

A tree has log2(k) steps; round a ring it is k - 1 for a gather and 2 (k - 1) for a sum. The bytes
are those of :func:`benchmark_global.formula`. w, the work on positives, which every process repeats
for those of all, is c P log2 P with the c of the axis P of ``scale.jsonl``.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from typing import NamedTuple

from tools.benchmarks.benchmark_global import formula


class Cost(NamedTuple):
    """Milliseconds; ``work`` is None where no P axis was measured."""

    latency: float
    transfer: float
    work: float | None

    @property
    def together(self) -> float | None:
        return None if self.work is None else self.latency + self.transfer + self.work


def extra(
    loss: str,
    positives: list[int],
    *,
    latency_ms: float,
    bytes_a_second: float,
    number: int,
    work: Callable[[float], float] | None,
    ring: bool = False,
) -> Cost:
    """What ranking together adds, from the positives of each process.

    Args:
        latency_ms: of one step of a collective.
        number: bytes of a gathered number.
        work: as :func:`work_on_positives` gives it.
        ring: steps of a ring, else of a tree.
    """
    k = len(positives)
    traffic = formula(loss, positives, number)
    more = None if work is None else work(sum(positives)) - work(max(positives))
    gathers = 4 if loss == 'alrp' else 2
    steps = traffic.collectives * math.log2(k)
    if ring:
        steps = (k - 1) * (gathers + 2 * (traffic.collectives - gathers))
    return Cost(latency_ms * steps, traffic.sent(k) / bytes_a_second * 1e3, more)


def work_on_positives(points: list[tuple[int, float]]) -> Callable[[float], float] | None:
    """Milliseconds of a loss for its P positives, from points (P, ms); None from fewer than 2.

    c P log2 P, as on paper, above what a point costs without positives: both numbers by least
    squares. So the noise of one point counts for little.
    """
    if len(points) < 2:
        return None
    slope = statistics.linear_regression(
        [p * math.log2(p) for p, _ in points], [ms for _, ms in points]
    ).slope
    return lambda p: slope * p * math.log2(p)
