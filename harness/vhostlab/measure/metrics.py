# SPDX-License-Identifier: BSD-3-Clause
"""The metrics of a cell, the same whichever way the cell was measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from vhostlab import fio
from vhostlab.results import Better, Metric

PERCENTILES = (50.0, 90.0, 99.0, 99.9, 99.99)

#: The percentile by which guests on one target are compared.
WORST = 99.0


def metrics(way: fio.Direction, target_cpu_seconds: float | None) -> list[Metric]:
    """What fio said about the direction that the job is about, and what it cost the target.

    None: there was no target.
    """
    if target_cpu_seconds is None:
        return speed(way)
    cost = target_cpu_seconds * 1e9 / way.ios
    return [*speed(way), Metric("target_cpu_per_io", "ns", Better.LOWER, cost)]


def speed(way: fio.Direction) -> list[Metric]:
    """The part that fio knows."""
    found = [
        Metric("iops", "1/s", Better.HIGHER, way.iops),
        Metric("bandwidth", "B/s", Better.HIGHER, way.bytes_per_s),
        Metric("latency_mean", "ns", Better.LOWER, way.latency.mean_ns),
    ]
    for which in PERCENTILES:
        value = way.latency.percentile(which)
        if value is not None:
            name = f"latency_p{which:g}".replace(".", "_")
            found.append(Metric(name, "ns", Better.LOWER, float(value)))
    return found


def together(ways: Sequence[fio.Direction]) -> fio.Direction:
    """What several guests did at the same time, as if it were one: rates are summed, latencies
    are of all their requests."""
    if len(ways) == 1:
        return ways[0]
    latencies = [way.latency for way in ways]
    samples = sum(latency.samples for latency in latencies)
    mean = sum(latency.mean_ns * latency.samples for latency in latencies) / samples
    squares = sum(
        latency.samples * (latency.stddev_ns**2 + (latency.mean_ns - mean) ** 2)
        for latency in latencies
    )
    bins: Counter[int] = Counter()
    for latency in latencies:
        bins.update(latency.bins)
    return fio.Direction(
        name=ways[0].name,
        ios=sum(way.ios for way in ways),
        bytes=sum(way.bytes for way in ways),
        iops=sum(way.iops for way in ways),
        bytes_per_s=sum(way.bytes_per_s for way in ways),
        runtime_ms=max(way.runtime_ms for way in ways),
        short_ios=sum(way.short_ios for way in ways),
        dropped_ios=sum(way.dropped_ios for way in ways),
        latency=fio.Latency(
            samples=samples,
            mean_ns=mean,
            stddev_ns=(squares / samples) ** 0.5,
            min_ns=min(latency.min_ns for latency in latencies),
            max_ns=max(latency.max_ns for latency in latencies),
            percentiles={which: percentile(bins, which) for which in PERCENTILES},
            bins=dict(bins),
        ),
    )


def percentile(bins: Mapping[int, int], which: float) -> int:
    """The bin below which ``which`` per cent of all are, itself included."""
    wanted = sum(bins.values()) * which / 100
    seen = 0
    for value in sorted(bins):
        seen += bins[value]
        if seen >= wanted:
            return value
    return max(bins, default=0)


def fairness(shares: Sequence[float]) -> float:
    """Jain's index: 1 when all have the same, 1/n when one has everything, 0 when none has."""
    squares = sum(share**2 for share in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares else 0.0


def of_guests(ways: Sequence[fio.Direction]) -> list[Metric]:
    """Who got what, where several guests shared a target."""
    if len(ways) == 1:
        return []
    found = [Metric("fairness_jain", "", Better.HIGHER, fairness([way.iops for way in ways]))]
    tails = [way.latency.percentile(WORST) for way in ways]
    if known := [float(tail) for tail in tails if tail is not None]:
        found.append(Metric("latency_p99_worst_vm", "ns", Better.LOWER, max(known)))
    for number, (way, tail) in enumerate(zip(ways, tails, strict=True), start=1):
        found.append(Metric(f"vm{number}_iops", "1/s", Better.HIGHER, way.iops))
        if tail is not None:
            found.append(Metric(f"vm{number}_latency_p99", "ns", Better.LOWER, float(tail)))
    return found
