# SPDX-License-Identifier: BSD-3-Clause
"""The ends of disks."""

from __future__ import annotations

from vhostlab.scenario import GuestContext, guest_scenario
from vhostlab.scenario.layout import pattern


@guest_scenario("bounds")
async def bounds(ctx: GuestContext) -> None:
    """The last block of a disk keeps its data, and nothing is behind it.

    Steps: write the last 4 KiB of every disk that keeps data, read them, read what is behind them.
    Verify: the data comes back; behind it there is nothing to read.
    """
    for disk in (d for d in ctx.disks_of(writable=True) if d.disk.kind != "null"):
        end, data = disk.disk.size_bytes, pattern(f"bounds {disk.label}", 4096)
        await disk.write(end - 4096, data)
        ctx.check(f"{disk.label}: last block", await disk.read(end - 4096, 4096) == data)
        behind = f"dd if={disk.node} bs=4096 skip={end // 4096} iflag=direct 2>/dev/null | wc -c"
        ctx.equal(f"{disk.label}: bytes behind it", (await ctx.guest.run(behind)).stdout, "0\n")
