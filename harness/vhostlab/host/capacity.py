# SPDX-License-Identifier: BSD-3-Clause
"""What of this machine decides which cells of a matrix can be measured on it."""

from __future__ import annotations

import os
import re
from pathlib import Path

from vhostlab import images
from vhostlab.host.facts import numa_nodes
from vhostlab.matrix import Host


def capacity(accel: str) -> Host:
    """This machine, now."""
    return Host(
        cores=len(os.sched_getaffinity(0)),
        numa_nodes=numa_nodes(),
        memory_mib=available_mib(),
        accel=accel,
        guests=frozenset(name for name in images.names() if _is_at_hand(name)),
    )


def _is_at_hand(guest: str) -> bool:
    """Small guests are built on the way; for others somebody has to say so first."""
    recipe = images.recipe_path(guest)
    return guest == images.DEFAULT_GUEST or images.cached(recipe) is not None


def available_mib(meminfo: Path = Path("/proc/meminfo")) -> int:
    """Memory that is free, or would be if something asked for it."""
    found = re.search(r"^MemAvailable:\s*(\d+) kB", meminfo.read_text(), re.MULTILINE)
    return int(found.group(1)) // 1024 if found else 0
