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

#: In bytes per second: as fast as it goes.
BANDWIDTH = 10 << 30

#: How long the guest may stand still in the end, in milliseconds.
DOWNTIME = 500


async def move(source: Vm, destination: Vm, socket: Path) -> int:
    """Move the guest; return how long it stood still, in milliseconds, as QEMU says.

    It answers on its new side then. HarnessError: QEMU says why it cannot be done.
    """
    uri = f"unix:{socket}"
    await destination.execute("migrate-incoming", {"uri": uri})
    limits: dict[str, object] = {"max-bandwidth": BANDWIDTH, "downtime-limit": DOWNTIME}
    await source.execute("migrate-set-parameters", limits)
    await source.execute("migrate", {"uri": uri})

    async def completed() -> dict[str, Any] | None:
        return await _completed(source, destination)

    state = await until("end of the migration", COPY_DEADLINE_S, completed)

    async def runs() -> bool | None:
        destination.check()
        return True if (await destination.execute("query-status"))["running"] else None

    await until("the guest runs where it went", ARRIVAL_DEADLINE_S, runs)
    await destination.wait_arrival(ARRIVAL_DEADLINE_S)
    return int(state["downtime"])


async def _completed(source: Vm, destination: Vm) -> dict[str, Any] | None:
    source.check()
    state = await source.execute("query-migrate")
    assert isinstance(state, dict)
    if state.get("status") in ("failed", "cancelled"):
        words = state.get("error-desc", "it does not say why")
        log = destination.process.log_tail(3).strip()
        raise HarnessError(f"the migration {state['status']}: {words}; the other side: {log}")
    return state if state.get("status") == "completed" else None
