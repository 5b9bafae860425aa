# SPDX-License-Identifier: BSD-3-Clause
"""A read-only disk."""

from __future__ import annotations

import hashlib
import re

from vhostlab.scenario import GuestContext, guest_scenario
from vhostlab.scenario.layout import READONLY_SIZE, pattern

#: An attempt must fail for the right reason: a mistyped command fails, too. "Not supported" is what
#: a guest says when a read-only disk does not even offer to discard.
REFUSAL = re.compile(
    r"Operation not (?:permitted|supported)|Permission denied|Read-only|Input/output error"
)


@guest_scenario("readonly", kernel_messages=r"read-only|Read-only|I/O error")
async def readonly(ctx: GuestContext) -> None:
    """A read-only disk reads what its file holds and cannot be changed.

    Steps: read the whole disk in the guest; try to write, to discard and to write zeroes; read it
    again, and look at the file on the host.
    Verify: both reads give the file's content; every attempt is refused; the file is unchanged.
    """
    disks = [d for d in ctx.disks if not d.writable]
    if not disks:
        ctx.skip(f"target {ctx.target.name} has no read-only disks")
    expected = hashlib.md5(pattern("read-only disk", READONLY_SIZE)).hexdigest()
    for disk in disks:
        assert disk.disk.path is not None
        ctx.equal(f"{disk.label}: content", await disk.md5(0, READONLY_SIZE), expected)
        for what, command in (
            ("write", f"dd if=/dev/zero of={disk.node} bs=4096 count=1 oflag=direct conv=notrunc"),
            ("discard", f"/sbin/blkdiscard {disk.node}"),
            ("write zeroes", f"/sbin/blkdiscard -z {disk.node}"),
        ):
            done = await ctx.guest.run(command, check=False)
            refused = done.rc != 0 and REFUSAL.search(done.stderr) is not None
            said = done.stderr.strip().splitlines()
            ctx.check(f"{disk.label}: {what} is refused", refused, said[0] if said else "accepted")
        await ctx.guest.run("echo 3 > /proc/sys/vm/drop_caches")
        ctx.equal(f"{disk.label}: content after", await disk.md5(0, READONLY_SIZE), expected)
        kept = hashlib.md5(disk.disk.path.read_bytes()).hexdigest()
        ctx.equal(f"{disk.label}: file on the host", kept, expected)
