# SPDX-License-Identifier: BSD-3-Clause
"""Targets that are no process of their own: whoever serves lives and dies with the guest's QEMU."""

from __future__ import annotations

import abc

from vhostlab.errors import HarnessError
from vhostlab.process import Process
from vhostlab.target.base import Target


class Processless(Target, abc.ABC):
    """What is asked of the target's process is asked of the QEMU of the guest that came last."""

    inside = True

    @property
    def process(self) -> Process:
        if not self.guests:
            raise HarnessError(f"target {self.name} has no guest yet")
        return self.guests[-1].process

    @property
    def pid(self) -> int:
        return self.process.pid

    def log_tail(self, lines: int = 20) -> str:
        return self.process.log_tail(lines) if self.guests else ""
