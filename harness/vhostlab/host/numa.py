# SPDX-License-Identifier: BSD-3-Clause
"""The NUMA nodes of this machine, and lists of processors as the kernel writes them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

NODES = Path("/sys/devices/system/node")


def cpu_list(text: str) -> tuple[int, ...]:
    """``0-2,5`` and ``0, 1`` as numbers; also an empty list."""
    found: list[int] = []
    for part in text.replace("\n", "").split(","):
        first, dash, last = part.strip().partition("-")
        if first:
            found += range(int(first), int(last if dash else first) + 1)
    return tuple(found)


def shown(cpus: Iterable[int]) -> str:
    """Numbers as a short list."""
    runs: list[list[int]] = []
    for cpu in sorted(cpus):
        if runs and cpu == runs[-1][1] + 1:
            runs[-1][1] = cpu
        else:
            runs.append([cpu, cpu])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def usable_cores(root: Path = NODES) -> Mapping[int, tuple[int, ...]]:
    """The cores that this process may use, by node; nodes without any are left out."""
    mine = os.sched_getaffinity(0)
    nodes: dict[int, tuple[int, ...]] = {}
    for path in sorted(root.glob("node[0-9]*"), key=lambda p: int(p.name[4:])):
        listed = (path / "cpulist").read_text() if (path / "cpulist").exists() else ""
        if cores := tuple(cpu for cpu in cpu_list(listed) if cpu in mine):
            nodes[int(re.sub(r"\D", "", path.name))] = cores
    return nodes or {0: tuple(sorted(mine))}
