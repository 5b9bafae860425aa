# SPDX-License-Identifier: BSD-3-Clause
"""The metrics of a cell, the same whichever way the cell was measured."""

from __future__ import annotations

from vhostlab import fio
from vhostlab.results import Better, Metric

PERCENTILES = (50.0, 90.0, 99.0, 99.9, 99.99)


def metrics(way: fio.Direction, target_cpu_seconds: float | None) -> list[Metric]:
    """What fio said about the direction that the job is about, and what it cost the target.

    None: there was no target.
    """
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
    if target_cpu_seconds is not None:
        cost = target_cpu_seconds * 1e9 / way.ios
        found.append(Metric("target_cpu_per_io", "ns", Better.LOWER, cost))
    return found
