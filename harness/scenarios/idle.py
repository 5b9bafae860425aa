# SPDX-License-Identifier: BSD-3-Clause
"""What a target costs while nothing happens."""

from __future__ import annotations

import time

from vhostlab.results import Better
from vhostlab.scenario import GuestContext, Needs, guest_scenario
from vhostlab.wait import until

WINDOW_S = 10.0
LIMIT_PERCENT = 2.0


@guest_scenario("idle", needs=Needs(features=frozenset({"sleeps"})))
async def idle(ctx: GuestContext) -> None:
    """A target with an idle guest uses next to no CPU.

    Steps: leave the guest alone; read the target's CPU time at both ends of a window of 10 s.
    Verify: no request was made meanwhile, and the target used less than 2 % of one core.
    """
    await ctx.guest.run("sync")
    requests = await _requests(ctx)
    began, used = time.monotonic(), ctx.target.cpu_seconds()

    async def over() -> float | None:
        now = time.monotonic()
        return now - began if now - began >= WINDOW_S else None

    window = await until("the end of the idle window", WINDOW_S + 5.0, over, interval_s=0.5)
    percent = 100.0 * (ctx.target.cpu_seconds() - used) / window
    ctx.equal("requests during the window", await _requests(ctx) - requests, 0)
    count = len({d.controller.name for d in ctx.disks})
    ctx.check(
        f"{count} controllers idle below {LIMIT_PERCENT:g} % of one core",
        percent < LIMIT_PERCENT,
        f"{percent:.2f} % over {window:.1f} s",
    )
    ctx.metric("target_cpu_idle", "%", Better.LOWER, percent)


async def _requests(ctx: GuestContext) -> int:
    """Requests that the guest's disks have completed: reads, writes, discards and flushes."""
    names = " ".join(f"{d.sysfs}/stat" for d in ctx.disks)
    total = 0
    for line in (await ctx.guest.run(f"cat {names}")).stdout.splitlines():
        fields = [int(word) for word in line.split()]
        total += sum(fields[n] for n in (0, 4, 11, 15) if n < len(fields))
    return total
