# SPDX-License-Identifier: BSD-3-Clause
"""A guest moves from one QEMU to another on this machine while it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vhostlab.errors import HarnessError
from vhostlab.qemu.vm import Vm
from vhostlab.wait import until

#: Memory of a small guest, under TCG on a busy machine.
COPY_DEADLINE_S = 120.0
ARRIVAL_DEADLINE_S = 60.0

#: No limit that matters, in bytes per second.
BANDWIDTH = 10 << 30

#: How long the guest may stand still in the end, in milliseconds: 0 keeps a busy guest here.
NO_DOWNTIME, DOWNTIME = 0, 10_000


class Migration:
    """Memory is copied round by round until :meth:`finish` lets the guest go."""

    def __init__(self, source: Vm, destination: Vm, socket: Path) -> None:
        self.source = source
        self.destination = destination
        self._socket = socket
        #: How long the guest stood still, in milliseconds, as QEMU says.
        self.downtime_ms = 0
        self.rounds = 0

    async def begin(self) -> None:
        """Start copying. HarnessError: QEMU says why it cannot be done."""
        uri = {"uri": f"unix:{self._socket}"}
        await self.destination.execute("migrate-incoming", dict(uri))
        await self._set("max-bandwidth", BANDWIDTH)
        await self._set("downtime-limit", NO_DOWNTIME)
        await self.source.execute("migrate", dict(uri))

    async def round(self, number: int) -> None:
        """Wait until the pages that were written to have been looked for so many times."""

        async def reached() -> bool | None:
            state = await self._state()
            return True if int(state.get("ram", {}).get("dirty-sync-count", 0)) >= number else None

        await until(f"round {number} of the migration", COPY_DEADLINE_S, reached)

    async def under_way(self) -> bool:
        """Whether the guest is still where it was."""
        return (await self._state())["status"] == "active"

    async def finish(self) -> None:
        """Let the guest go; it answers on its new side when this returns."""
        await self._set("downtime-limit", DOWNTIME)

        async def completed() -> dict[str, Any] | None:
            state = await self._state()
            return state if state["status"] == "completed" else None

        state = await until("end of the migration", COPY_DEADLINE_S, completed)
        self.downtime_ms = int(state.get("downtime", 0))
        self.rounds = int(state.get("ram", {}).get("dirty-sync-count", 0))

        async def runs() -> bool | None:
            self.destination.check()
            return True if (await self.destination.execute("query-status"))["running"] else None

        await until("the guest runs where it went", ARRIVAL_DEADLINE_S, runs)
        await self.destination.wait_arrival(ARRIVAL_DEADLINE_S)

    async def _set(self, parameter: str, value: int) -> None:
        await self.source.execute("migrate-set-parameters", {parameter: value})

    async def _state(self) -> dict[str, Any]:
        self.source.check()
        state = await self.source.execute("query-migrate")
        assert isinstance(state, dict)
        if state.get("status") in ("failed", "cancelled"):
            words = state.get("error-desc", "it does not say why")
            log = self.destination.process.log_tail(3).strip()
            raise HarnessError(f"the migration {state['status']}: {words}; the other side: {log}")
        return state
