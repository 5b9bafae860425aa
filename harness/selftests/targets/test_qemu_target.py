# SPDX-License-Identifier: BSD-3-Clause
"""The target that is QEMU itself: what QEMU is told, and what it says. No guest runs."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from vhostlab import target
from vhostlab.errors import HarnessError
from vhostlab.images import Image
from vhostlab.process import thread_cpu_seconds
from vhostlab.qemu import Vm, VmConfig
from vhostlab.qemu.config import Channels
from vhostlab.qemu.disks import Properties, arguments
from vhostlab.qemu.hotplug import nested
from vhostlab.target import Controller, Disk, Wiring
from vhostlab.target.qemu import Qemu

MIB = 1 << 20


def controllers(tmp_path: Path) -> tuple[Controller, ...]:
    path = tmp_path / "disk.raw"
    with path.open("wb") as file:
        file.truncate(4 * MIB)
    return (
        Controller("blk", "blk", (Disk("m0", "malloc", MIB, serial="S-1"),), num_queues=2),
        Controller("large", "blk", (Disk("m1", "malloc", MIB, 4096),), readonly=True),
        Controller(
            "scsi",
            "scsi",
            (Disk("n0", "null", MIB), Disk("a0", "aio", 4 * MIB, path=path)),
            num_queues=2,
        ),
    )


class NoKernel(Vm):
    """QEMU with nothing to boot."""

    def command(self, channels: Channels) -> list[str]:
        words = super().command(channels)
        at = words.index("-kernel")
        return words[:at] + words[at + 6 :]


def stopped(tmp_path: Path, look: Callable[[Qemu, Vm], Awaitable[None]]) -> None:
    """QEMU with all controllers, its processors stopped before the first instruction."""
    wanted = controllers(tmp_path)

    async def run() -> None:
        async with Qemu(tmp_path / "target") as running:
            await running.start(wanted)
            disks = tuple(running.disk(c, Wiring(packed=c.name == "blk")) for c in wanted)
            config = VmConfig(
                Image("none", "0", Path("/k"), Path("/i"), "", {}),
                "tcg",
                memory_mib=64,
                disks=disks,
                extra=("-S",),
            )
            vm = NoKernel(config, tmp_path / "vm")
            try:
                await vm.launch()
                await running.serves(vm)
                await look(running, vm)
            finally:
                await vm.__aexit__(None, None, None)

    asyncio.run(run())


def test_qemu_takes_its_disks_and_counts_what_they_do(tmp_path: Path) -> None:
    async def look(running: Qemu, vm: Vm) -> None:
        assert running.pid == vm.pid and running.process.alive
        assert running.cpu_seconds() >= 0.0
        stats = await running.stats()
        assert stats is not None
        assert {c["ctrlr"]: c["queues"][0]["flushes"] for c in stats["controllers"]} == {
            "blk": 0,
            "large": 0,
            "scsi": 0,
        }
        threads = {t["id"] for t in await vm.execute("query-iothreads")}
        assert threads == {"io-blk", "io-large", "io-scsi"}
        assert "I/O threads" in running.whereabouts()[0]

    stopped(tmp_path, look)


def test_a_disk_is_arguments_and_not_a_socket(tmp_path: Path) -> None:
    blk, _, scsi = controllers(tmp_path)
    made = Qemu(tmp_path)
    words = arguments(made.disk(blk, Wiring(packed=True, queue_size=64)))
    assert words[:2] == ["-object", "iothread,id=io-blk"]
    assert words[-1] == (
        "virtio-blk-pci,id=blk,iothread=io-blk,num-queues=2,queue-size=64,drive=m0,serial=S-1,"
        "packed=on"
    )
    assert "-chardev" not in words
    assert arguments(made.disk(blk, Wiring(bus="port1")))[-1].endswith(",bus=port1")
    units = [w for w in arguments(made.disk(scsi)) if w.startswith("scsi-hd")]
    assert [w.split(",")[2:4] for w in units] == [
        ["bus=scsi.0", "scsi-id=0"],
        ["bus=scsi.0", "scsi-id=1"],
    ]


def test_what_it_is_not() -> None:
    capabilities = target.get("qemu").capabilities
    assert capabilities.without("process") == (
        "is no process of its own, which could be killed and started again"
    )
    assert capabilities.without("packed") is None
    assert target.get("qemu-storage-daemon").capabilities.without("packed") is not None


def test_a_file_that_is_not_there_and_no_guest_yet(tmp_path: Path) -> None:
    missing = Disk("d", "aio", MIB, path=tmp_path / "absent.raw")

    async def run() -> None:
        async with Qemu(tmp_path) as running:
            with pytest.raises(HarnessError, match="no guest yet"):
                _ = running.pid
            await running.start([Controller("c", "blk", (missing,))])

    with pytest.raises(HarnessError, match=r"absent\.raw cannot be read"):
        asyncio.run(run())


def test_the_monitor_takes_nested_options() -> None:
    told: Properties = {
        "driver": "file",
        "cache.direct": True,
        "addr.type": "unix",
        "addr.path": "/x",
    }
    assert nested(told) == {
        "driver": "file",
        "cache": {"direct": True},
        "addr": {"type": "unix", "path": "/x"},
    }


def test_time_of_one_thread() -> None:
    found: list[int] = []
    pid = os.getpid()

    def busy() -> None:
        mine = threading.get_native_id()
        while thread_cpu_seconds(pid, mine, 0.0) < 0.03:
            pass
        found.append(mine)

    thread = threading.Thread(target=busy)
    thread.start()
    thread.join(30)
    assert found
    # more than there can be
    assert thread_cpu_seconds(pid, 1 << 30, 7.0) == 7.0
