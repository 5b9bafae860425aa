# SPDX-License-Identifier: BSD-3-Clause
"""Real micro guests on every target there is: boot, disks, files, death."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import shutil
import signal
from pathlib import Path

import pytest
from vhostlab import target
from vhostlab.errors import HarnessError, MilestoneTimeout, Unavailable
from vhostlab.host import accelerator
from vhostlab.images import build
from vhostlab.qemu import VhostBlk, Vm, VmConfig
from vhostlab.target import Controller, Disk
from vhostlab.target.base import backing_file
from vhostlab.target.vhostlab import find_daemon

pytestmark = [
    pytest.mark.vm,
    pytest.mark.skipif(
        shutil.which("qemu-system-x86_64") is None, reason="qemu-system-x86_64 is not installed"
    ),
]

MIB = 1 << 20


def driver(name: str) -> type[target.Target]:
    """The driver of a target; skips the test when this machine does not have the target."""
    try:
        if name == "vhostlab":
            find_daemon()
    except Unavailable as error:
        pytest.skip(str(error))
    return target.get(name)


@pytest.mark.parametrize("name", ("vhostlab", "qemu-storage-daemon"))
def test_guest_sees_its_disks(tmp_path: Path, name: str) -> None:
    """Steps: boot with three disks. Verify: sizes, read-only, queues, data, files."""

    async def run() -> None:
        image = await build()
        async with driver(name)(tmp_path / "target") as running:
            null = Disk("n", "null", 1024 * MIB, serial="S-1")
            await running.start(
                [
                    Controller("null", "blk", (null,), num_queues=2),
                    Controller("ram", "blk", (Disk("m", "malloc", 64 * MIB, 4096),)),
                    Controller("ro", "blk", (Disk("r", "malloc", 8 * MIB, readonly=True),)),
                ]
            )
            disks = (
                VhostBlk(running.endpoints["null"], 2, id="null"),
                VhostBlk(running.endpoints["ram"], id="ram"),
                VhostBlk(running.endpoints["ro"], id="ro"),
            )
            async with Vm(VmConfig(image, "tcg", vcpus=2, disks=disks), tmp_path / "vm") as vm:
                serial = running.capabilities.serial
                await look_at_disks(vm, "S-1" if serial == "configured" else serial)
                await move_files(vm)
                assert running.cpu_seconds() >= 0
                assert await vm.shutdown() == 0

    asyncio.run(run())


async def look_at_disks(vm: Vm, serial: str | None) -> None:
    guest = vm.guest
    query = (
        "cd /sys/block; for d in vda vdb vdc; do "
        "echo $(cat $d/size $d/ro $d/queue/logical_block_size; ls $d/mq | wc -l); done"
    )
    sizes = (await guest.run(query)).stdout.split("\n")
    assert sizes[:3] == ["2097152 0 512 2", "131072 0 4096 1", "16384 1 512 1"]
    assert (await guest.run("cat /sys/block/vda/serial")).stdout.strip() == serial
    await guest.run(
        "mkfs.ext4 -q /dev/vdb && mount /dev/vdb /mnt && cp /bin/busybox /mnt/b && umount /mnt"
    )
    await guest.run(
        "e2fsck -fn /dev/vdb && mount /dev/vdb /mnt && cmp /bin/busybox /mnt/b; umount /mnt"
    )
    refused = await guest.run("dd if=/dev/zero of=/dev/vdc bs=4096 count=1", check=False)
    assert refused.rc != 0
    fio = (
        "fio --name=j --filename=/dev/vda --ioengine=libaio --rw=randread --bs=4k --iodepth=8 "
        "--direct=1 --size=4m"
    )
    assert "err= 0" in (await guest.run(fio, 120)).stdout


async def move_files(vm: Vm) -> None:
    data = os.urandom(700_001)
    await vm.guest.write_file("/tmp/file", data)
    assert await vm.guest.read_file("/tmp/file") == data
    await vm.guest.write_file("/tmp/empty", "")
    assert await vm.guest.read_file("/tmp/empty") == b""
    done = await vm.guest.run(["wc", "-c"], stdin=b"12345")
    assert done.stdout.strip() == "5"
    with pytest.raises(MilestoneTimeout, match="sleep 1000"):
        await vm.guest.run("sleep 1000 & sleep 1000", 0.5)
    left = await vm.guest.run("pidof sleep", check=False)
    assert left.stdout.strip() == ""


@pytest.mark.parametrize("name", ("vhostlab", "qemu-storage-daemon"))
def test_targets_come_and_go_under_a_running_guest(tmp_path: Path, name: str) -> None:
    """Steps: kill and restart the target; plug a disk in and out, twice. Verify: data, devices."""

    async def run() -> None:
        kind = driver(name)
        async with kind(tmp_path / "a") as first, kind(tmp_path / "b") as second:
            # A file: memory disks do not outlive the process of every target.
            path = backing_file(tmp_path, Disk("d", "malloc", 8 * MIB))
            controllers = [Controller("c", "blk", (Disk("d", "aio", 8 * MIB, path=path),))]
            await first.start(controllers)
            await second.start([Controller("h", "blk", (Disk("hot", "null", 16 * MIB),))])
            fixed = VhostBlk(first.endpoints["c"], reconnect=1)
            config = VmConfig(await build(), "tcg", disks=(fixed,), hotplug_slots=1)
            async with Vm(config, tmp_path / "vm") as vm:
                await vm.guest.run("dd if=/bin/busybox of=/dev/vda conv=fsync")
                await first.kill()
                await first.start(controllers)
                compare = "cmp -n 1000000 /bin/busybox /dev/vda"
                await vm.guest.run(f"echo 3 > /proc/sys/vm/drop_caches; {compare}")
                hot = VhostBlk(second.endpoints["h"], id="hot")
                for _ in range(2):
                    await vm.plug(hot)
                    with pytest.raises(HarnessError, match="no free slot"):
                        await vm.plug(hot)
                    size = "until cat /sys/block/vdb/size; do usleep 50000; done 2>/dev/null"
                    assert (await vm.guest.run(size)).stdout.strip() == "32768"
                    await vm.unplug(hot)
                    await vm.guest.run("! test -e /sys/block/vdb")

    asyncio.run(run())


def test_deaths_of_a_vm_are_noticed(tmp_path: Path) -> None:
    """Steps: panic one guest, kill QEMU under another. Verify: the wait ends, and says why."""

    async def panic() -> None:
        image = await build()
        async with Vm(VmConfig(image, "tcg", name="doomed"), tmp_path / "panic") as vm:
            await vm.guest.run("echo 1 > /proc/sys/kernel/sysrq; echo c > /proc/sysrq-trigger", 60)

    with pytest.raises(MilestoneTimeout, match="doomed") as caught:
        asyncio.run(panic())
    assert "Kernel panic - not syncing: sysrq triggered crash" in str(caught.value)
    assert "sysrq_handle_crash" in caught.value.console_tail

    async def killed() -> int:
        image = await build()
        async with Vm(VmConfig(image, "tcg"), tmp_path / "kill") as vm:
            vm.kill()
            status = await vm.wait_exit()
            with pytest.raises(MilestoneTimeout, match="ended with status -9"):
                await vm.guest.run("true")
            return status

    assert asyncio.run(killed()) == -signal.SIGKILL


def test_a_guest_that_does_not_boot_says_how_far_it_came(tmp_path: Path) -> None:
    async def run() -> None:
        image = dataclasses.replace(await build(), cmdline="console=ttyS0 panic=-1 rdinit=/no/such")
        async with Vm(VmConfig(image, "tcg", name="lame"), tmp_path):
            raise AssertionError("it cannot boot")

    with pytest.raises(MilestoneTimeout, match="lame") as caught:
        asyncio.run(run())
    assert caught.value.milestone == "boot of lame: init"
    assert "Linux version" in caught.value.console_tail or "panic" in caught.value.console_tail


def test_accelerator_is_probed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = asyncio.run(build())
    monkeypatch.delenv("VHOSTLAB_ACCEL", raising=False)
    monkeypatch.setenv("VHOSTLAB_CACHE", str(tmp_path))
    answer = asyncio.run(accelerator(image))
    kept = list((tmp_path / "accel").glob("*.json"))
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        assert answer == "tcg" and kept == []
        return
    assert json.loads(kept[0].read_text())["accel"] == answer
    # What is kept is believed.
    other = "kvm" if answer == "tcg" else "tcg"
    kept[0].write_text(json.dumps({"accel": other}))
    assert asyncio.run(accelerator(image)) == other


def test_a_missing_socket_is_qemus_own_words(tmp_path: Path) -> None:
    async def run() -> None:
        disk = VhostBlk(tmp_path / "nobody")
        async with Vm(VmConfig(await build(), "tcg", disks=(disk,)), tmp_path):
            raise AssertionError("it cannot start")

    with pytest.raises(HarnessError, match=r"QEMU ended with status 1: .*nobody"):
        asyncio.run(run())
