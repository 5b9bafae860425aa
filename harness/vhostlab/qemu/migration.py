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

#: In bytes per second. A guest is kept where it is by copying slower than it writes. From FAST to
#: SLOW it goes in two steps, so that it does not leave before somebody has looked.
FAST, NEAR, SLOW, UNLIMITED = 128 << 20, 32 << 20, 4 << 20, 10 << 30

#: So much of the first copy is left to the second step.
NEAR_BYTES = 48 << 20

#: How long the guest may stand still in the end, in milliseconds. With 0 QEMU does not look for
#: pages that were written to meanwhile, and lets it go at once.
SHORT, LONG = 1, 10_000


class Migration:
    """Memory is copied until :meth:`finish` lets the guest go, which must be busy."""

    def __init__(self, source: Vm, destination: Vm, socket: Path) -> None:
        self.source = source
        self.destination = destination
        self._socket = socket
        #: How long the guest stood still, in milliseconds, as QEMU says.
        self.downtime_ms = 0
        self.rounds = 0

    async def begin(self) -> None:
        """Copy all of memory once. HarnessError: QEMU says why it cannot be done."""
        uri = {"uri": f"unix:{self._socket}"}
        await self.destination.execute("migrate-incoming", dict(uri))
        await self._set("max-bandwidth", FAST)
        await self._set("downtime-limit", SHORT)
        await self.source.execute("migrate", dict(uri))

        await until("most of the guest's memory", COPY_DEADLINE_S, self._near)
        await self._set("max-bandwidth", NEAR)
        await until("a first copy of the guest's memory", COPY_DEADLINE_S, self._copied)
        await self._set("max-bandwidth", SLOW)

    async def under_way(self) -> bool:
        """Whether the guest is still where it was."""
        return bool((await self._state())["status"] == "active")

    async def finish(self) -> None:
        """Let the guest go; it answers on its new side when this returns."""
        await self._set("downtime-limit", LONG)
        await self._set("max-bandwidth", UNLIMITED)

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

    async def _near(self) -> bool | None:
        ram = (await self._state()).get("ram", {})
        return True if ram.get("remaining", NEAR_BYTES) < NEAR_BYTES else None

    async def _copied(self) -> bool | None:
        """The pages that were written to meanwhile have been looked for."""
        ram = (await self._state()).get("ram", {})
        return True if ram.get("dirty-sync-count", 0) > 1 else None

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
