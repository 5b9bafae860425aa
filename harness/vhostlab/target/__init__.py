# SPDX-License-Identifier: BSD-3-Clause
"""Storage targets behind one interface."""

from vhostlab.errors import HarnessError
from vhostlab.target.base import Controller, Disk, Target, TargetCapabilities, Wiring
from vhostlab.target.kernel import Kernel
from vhostlab.target.qemu import Qemu
from vhostlab.target.qsd import QemuStorageDaemon
from vhostlab.target.spdk import Spdk
from vhostlab.target.spdk import driver as spdk_driver
from vhostlab.target.vhostlab import VhostlabTarget

_DRIVERS: tuple[type[Target], ...] = (VhostlabTarget, QemuStorageDaemon, Qemu, Kernel, Spdk)
_TARGETS = {driver.name: driver for driver in _DRIVERS}


def names() -> list[str]:
    """The targets there are drivers for."""
    return sorted(_TARGETS)


def get(name: str) -> type[Target]:
    """The driver of a target."""
    if name == Spdk.name:
        return spdk_driver()
    try:
        return _TARGETS[name]
    except KeyError:
        raise HarnessError(
            f"no target is called '{name}'", f"there is {', '.join(names())}"
        ) from None


__all__ = ["Controller", "Disk", "Target", "TargetCapabilities", "Wiring", "get", "names"]
