# SPDX-License-Identifier: BSD-3-Clause
"""IOPS second by second, from the logs that fio writes beside its result."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vhostlab.results import write_text

#: What fio is told to write these logs. Times are those of the guest's clock, so that what several
#: guests did can be laid side by side.
PERIOD_MS = 1000
OPTIONS = (f"--log_avg_msec={PERIOD_MS}", "--log_unix_epoch=1")


@dataclass(frozen=True)
class Series:
    """The measured time of one fio, without its ramp. Times are UNIX times in seconds."""

    began: float
    ended: float
    iops: tuple[float, ...]

    def moved(self, seconds: float) -> Series:
        """The same on another clock."""
        return Series(self.began + seconds, self.ended + seconds, self.iops)


def parse(logs: Sequence[str]) -> Series | None:
    """One log per job; lines are ``time, IOPS, direction, ...``, a time is the end of its second.

    A second counts when every job has it. None: fio was too short for a single one.
    """
    jobs = [[_entry(line) for line in log.splitlines() if line.strip()] for log in logs]
    if not jobs or not all(jobs):
        return None
    first = min(when for job in jobs for when, _ in job)
    sums: defaultdict[int, float] = defaultdict(float)
    for job in jobs:
        for when, value in job:
            sums[round((when - first) / PERIOD_MS)] += value
    last = min(max(round((when - first) / PERIOD_MS) for when, _ in job) for job in jobs)
    iops = tuple(sums[second] for second in range(last + 1))
    began = (first - PERIOD_MS) / 1000
    return Series(began, began + len(iops) * PERIOD_MS / 1000, iops)


def _entry(line: str) -> tuple[int, float]:
    when, value = line.split(",")[:2]
    return int(when), float(value)


def total(parts: Sequence[Series]) -> tuple[float, ...]:
    """The sum over what ran at the same time, as far as all have values."""
    return tuple(sum(values) for values in zip(*(part.iops for part in parts), strict=False))


def table(parts: Sequence[Series]) -> str:
    """As CSV: second, all IOPS, and with several guests those of each."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    several = len(parts) > 1
    names = [f"iops_vm{n}" for n in range(1, len(parts) + 1)] if several else []
    writer.writerow(["second", "iops", *names])
    for second, all_iops in enumerate(total(parts)):
        each = [f"{part.iops[second]:.1f}" for part in parts] if several else []
        writer.writerow([second, f"{all_iops:.1f}", *each])
    return text.getvalue()


def keep(run_dir: Path, cell: str, parts: Sequence[Series]) -> str:
    """Write the file of a cell; its name, "" where there is nothing to write."""
    if not parts:
        return ""
    name = f"series/{cell}.csv"
    write_text(table(parts), run_dir / name)
    return name


def together(spans: Sequence[tuple[float, float]]) -> float:
    """The share of the time from the first start to the last end in which all of them ran."""
    starts, ends = [began for began, _ in spans], [ended for _, ended in spans]
    return max(0.0, min(ends) - max(starts)) / (max(ends) - min(starts))
