# SPDX-License-Identifier: BSD-3-Clause
"""What of this machine decides which cells of a matrix can be measured on it."""

from __future__ import annotations

import os

from vhostlab import images
from vhostlab.host.facts import free_mib, numa_nodes
from vhostlab.matrix import Host


def capacity(accel: str) -> Host:
    """This machine, now."""
    return Host(
        cores=len(os.sched_getaffinity(0)),
        numa_nodes=numa_nodes(),
        memory_mib=free_mib(),
        accel=accel,
        guests=frozenset(name for name in images.names() if _is_at_hand(name)),
    )


def _is_at_hand(guest: str) -> bool:
    """Small guests are built on the way; for others somebody has to say so first."""
    recipe = images.recipe_path(guest)
    return guest == images.DEFAULT_GUEST or images.cached(recipe) is not None
