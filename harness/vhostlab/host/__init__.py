# SPDX-License-Identifier: BSD-3-Clause
"""The machine that runs the guests: facts, leases, accelerator."""

from vhostlab.host.accel import accelerator, verdict, without_probe
from vhostlab.host.facts import HostFacts, HugepagePool, facts, free_mib, usable_cpus
from vhostlab.host.leases import Lease, Leases

__all__ = [
    "HostFacts",
    "HugepagePool",
    "Lease",
    "Leases",
    "accelerator",
    "facts",
    "free_mib",
    "usable_cpus",
    "verdict",
    "without_probe",
]
