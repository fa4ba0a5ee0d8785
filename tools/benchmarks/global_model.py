"""What ranking together costs beyond ranking alone: one formula, for a few processes and for many.

    latency x log2(k) for each collective  +  bytes sent / bandwidth  +  w(P of all) - w(P of one)

The bytes are those of :func:`benchmark_global.formula`. w, the work on positives, which every
process repeats for those of all, is c P log2 P with the c of the axis P of ``scale.jsonl``.
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
) -> Cost:
    """What ranking together adds, from the positives of each process.

    Args:
        latency_ms: of one of the log2(k) steps of a collective.
        number: bytes of a gathered number.
        work: as :func:`work_on_positives` gives it.
    """
    k = len(positives)
    traffic = formula(loss, positives, number)
    more = None if work is None else work(sum(positives)) - work(max(positives))
    waiting = latency_ms * traffic.collectives * math.log2(k)
    return Cost(waiting, traffic.sent(k) / bytes_a_second * 1e3, more)


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
