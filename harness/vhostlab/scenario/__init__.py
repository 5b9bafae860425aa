# SPDX-License-Identifier: BSD-3-Clause
"""Scenarios: what is run in guests, how they are found, and how a stage of them is carried out."""

from vhostlab.scenario.context import CheckFailed, GuestContext, HostContext, Options, Skipped
from vhostlab.scenario.registry import Needs, Scenario, Suite, guest_scenario, host_scenario

__all__ = [
    "CheckFailed",
    "GuestContext",
    "HostContext",
    "Needs",
    "Options",
    "Scenario",
    "Skipped",
    "Suite",
    "guest_scenario",
    "host_scenario",
]
