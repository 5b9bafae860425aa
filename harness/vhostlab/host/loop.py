# SPDX-License-Identifier: BSD-3-Clause
"""Loop devices: block devices of this host whose flushes can be counted one by one."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from vhostlab.errors import HarnessError, Unavailable
from vhostlab.process import find_program, output_of

#: The column of /sys/block/*/stat that counts flushes (Linux 5.5).
FLUSHES = 15
TIMEOUT_S = 20.0


@asynccontextmanager
async def loop_device(file: Path) -> AsyncIterator[Path]:
    """A block device on top of a file. It goes with its last user, however that ends.

    Unavailable where this machine has none for us.
    """
    program = find_program("losetup", "install mount (Debian, Ubuntu) or util-linux (Fedora)")
    try:
        said = await output_of([program, "--find", "--show", str(file)], TIMEOUT_S)
    except HarnessError as error:
        raise Unavailable(f"no loop device can be had: {error.message}", "run as root") from error
    device = Path(said.strip())
    descriptor = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
    try:
        # it is in use, so this only marks it to be detached by the last close
        await output_of([program, "--detach", str(device)], TIMEOUT_S)
        yield device
    finally:
        os.close(descriptor)


def flushes(device: Path) -> int:
    """How many flushes a block device of this host has finished."""
    return int(Path(f"/sys/block/{device.name}/stat").read_text().split()[FLUSHES])
