# SPDX-License-Identifier: BSD-3-Clause
"""Disks and memory that come and go while a guest runs, in the slots its VM was made with."""

from __future__ import annotations

from collections.abc import Callable

from qemu.qmp import ExecuteError, QMPClient

from vhostlab.errors import HarnessError
from vhostlab.qemu.disks import Disk, Properties
from vhostlab.wait import until

UNPLUG_DEADLINE_S = 60.0


class MemoryModules:
    """The memory modules of one VM. ``check`` raises when the guest is dead."""

    def __init__(self, monitor: QMPClient, check: Callable[[], None]) -> None:
        self._monitor = monitor
        self._check = check

    async def plug(self, name: str, size_mib: int) -> None:
        """Put a module in; the guest notices it by itself, and may have to be told to use it."""
        backend = {"qom-type": "memory-backend-memfd", "id": f"{name}-ram", "share": True}
        await self._monitor.execute("object-add", {**backend, "size": size_mib << 20})
        device = {"driver": "pc-dimm", "id": name, "memdev": f"{name}-ram"}
        await self._monitor.execute("device_add", dict(device))

    async def unplug(self, name: str, timeout_s: float) -> None:
        """Take a module out again; return when the guest has let go of it."""
        await self._monitor.execute("device_del", {"id": name})

        async def gone() -> bool | None:
            self._check()
            devices = await self._monitor.execute("query-memory-devices")
            assert isinstance(devices, list)
            return None if any(device["data"]["id"] == name for device in devices) else True

        await until(f"removal of memory module {name}", timeout_s, gone)
        await self._monitor.execute("object-del", {"id": f"{name}-ram"})


class Slots:
    """The hotplug slots of one VM. ``check`` raises when the guest is dead."""

    def __init__(self, monitor: QMPClient, count: int, check: Callable[[], None]) -> None:
        self._monitor = monitor
        self._check = check
        self._free = [f"slot{number}" for number in range(count)]
        self._used: dict[str, str] = {}

    async def plug(self, disk: Disk) -> None:
        """Attach a disk; the guest notices it by itself."""
        if not self._free:
            raise HarnessError(f"no free slot for disk {disk.id}", "raise the VM's hotplug_slots")
        if (chardev := disk.chardev()) is not None:
            address = {"type": "unix", "data": {"path": chardev["path"]}}
            data: dict[str, object] = {"addr": address, "server": False}
            if "reconnect" in chardev:
                data["reconnect"] = chardev["reconnect"]
            backend = {"type": "socket", "data": data}
            await self._monitor.execute("chardev-add", {"id": chardev["id"], "backend": backend})
        for thing in disk.objects():
            await self._monitor.execute("object-add", dict(thing))
        for node in disk.blockdevs():
            await self._monitor.execute("blockdev-add", nested(node))
        await self._monitor.execute("device_add", {**disk.device(), "bus": self._free[0]})
        for unit in disk.units():
            await self._monitor.execute("device_add", dict(unit))
        self._used[disk.id] = self._free.pop(0)

    async def unplug(self, disk: Disk, timeout_s: float) -> None:
        """Take a plugged disk out again; return when the guest has let go of it."""
        await self._monitor.execute("device_del", {"id": disk.id})

        async def gone() -> bool | None:
            self._check()
            devices = await self._monitor.execute("qom-list", {"path": "/machine/peripheral"})
            assert isinstance(devices, list)
            return None if any(device["name"] == disk.id for device in devices) else True

        await until(f"removal of disk {disk.id}", timeout_s, gone)
        self._free.append(self._used.pop(disk.id))
        for node in reversed(disk.blockdevs()):
            await self._remove("blockdev-del", {"node-name": node["node-name"]}, timeout_s)
        for thing in disk.objects():
            await self._remove("object-del", {"id": thing["id"]}, timeout_s)
        if (chardev := disk.chardev()) is not None:
            await self._remove("chardev-remove", {"id": chardev["id"]}, timeout_s)

    async def _remove(self, command: str, arguments: dict[str, object], timeout_s: float) -> None:
        async def removed() -> bool | None:
            try:
                await self._monitor.execute(command, arguments)
            except ExecuteError:
                # Busy for a moment longer than its device can be seen.
                return None
            return True

        await until(f"{command} {next(iter(arguments.values()))}", timeout_s, removed)


def nested(properties: Properties) -> dict[str, object]:
    """``cache.direct`` of the command line is a member of ``cache`` in the monitor's JSON."""
    made: dict[str, object] = {}
    for key, value in properties.items():
        outer, _, inner = key.partition(".")
        if not inner:
            made[key] = value
            continue
        part = made.setdefault(outer, {})
        assert isinstance(part, dict)
        part[inner] = value
    return made
