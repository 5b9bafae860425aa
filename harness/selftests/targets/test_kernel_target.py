# SPDX-License-Identifier: BSD-3-Clause
"""vhost-scsi through configfs, on a directory that behaves like it. No kernel was asked."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from vhostlab import target
from vhostlab.errors import HarnessError, MilestoneTimeout, Unavailable
from vhostlab.qemu.disks import arguments
from vhostlab.target import Controller, Disk
from vhostlab.target import kernel as kernel_module
from vhostlab.target.configfs import Journal, Tree, guard_command, left_behind
from vhostlab.target.kernel import Kernel, port_name

from .fake_configfs import IN_USE, FakeTree

MIB = 1 << 20
HERE = Path(__file__).parent
DEADLINE_S = 30.0


def fake(tmp_path: Path) -> type[Kernel]:
    """The target on a tree of its own, as it is after `modprobe target_core_mod`."""
    (tmp_path / "config" / "target" / "core").mkdir(parents=True, exist_ok=True)
    (tmp_path / "vhost-scsi").touch()

    class Fake(Kernel):
        configfs = tmp_path / "config"
        device = tmp_path / "vhost-scsi"
        proc = tmp_path / "proc"

        @classmethod
        def tree(cls) -> Tree:
            return FakeTree(cls.configfs / "target")

        @classmethod
        def guard_command(cls, journal: Journal) -> list[str]:
            program = str(HERE / "fake_configfs.py")
            return [sys.executable, program, str(cls.configfs / "target"), str(journal.file)]

    return Fake


@pytest.fixture(autouse=True)
def own_journals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VHOSTLAB_RUNTIME", str(tmp_path / "run"))


def controllers(tmp_path: Path) -> list[Controller]:
    path = tmp_path / "disk.raw"
    path.write_bytes(bytes(MIB))
    disks = (
        Disk("m", "malloc", 8 * MIB, 4096, serial="S-1"),
        Disk("a", "aio", MIB, path=path),
        Disk("n", "null", MIB),
    )
    return [Controller("one", "scsi", disks), Controller("two", "scsi", disks[:1], num_queues=2)]


def everything(root: Path) -> list[str]:
    """What is there now; somebody may be removing it meanwhile."""
    while True:
        with suppress(FileNotFoundError):
            return sorted(str(p.relative_to(root)) for p in root.rglob("*"))


def test_makes_what_a_guest_needs_and_removes_it(tmp_path: Path) -> None:
    driver, wanted = fake(tmp_path), controllers(tmp_path)
    root = tmp_path / "config" / "target"
    before = everything(root)

    async def run() -> None:
        async with driver(tmp_path / "work") as running:
            await running.start(wanted)
            port = root / "vhost" / port_name("one")
            stores = {n: (port / f"tpgt_{n}/lun/lun_0/disk").resolve(strict=True) for n in range(3)}
            assert [stores[n].name for n in range(3)] == ["m", "a", "n"]
            assert (stores[0] / "control").read_text() == "rd_pages=2048"
            assert (stores[0] / "attrib/block_size").read_text() == "4096"
            assert (stores[0] / "wwn/vpd_unit_serial").read_text() == "S-1"
            assert (stores[1] / "control").read_text() == (
                f"fd_dev_name={tmp_path / 'disk.raw'},fd_dev_size={MIB},fd_async_io=1"
            )
            assert (stores[2] / "control").read_text() == "rd_pages=256,rd_nullio=1"
            # one store for two controllers
            other = root / "vhost" / port_name("two")
            assert (other / "tpgt_0/lun/lun_0/disk").resolve() == stores[0]
            assert (port / "tpgt_1/nexus").read_text().startswith("naa.5001405")
            words = arguments(running.disk(wanted[1]))
            assert words == [
                "-device",
                f"vhost-scsi-pci,id=two,wwpn={port_name('two')},num_queues=2,virtqueue_size=128",
            ]
            assert port_name("one") in running.whereabouts()[0]
            with pytest.raises(HarnessError, match="no guest yet"):
                _ = running.process

    asyncio.run(run())
    assert everything(root) == before
    assert not list((tmp_path / "run").glob("*.journal"))


def test_a_step_that_is_refused_leaves_nothing(tmp_path: Path) -> None:
    driver = fake(tmp_path)
    root = tmp_path / "config" / "target"
    before = everything(root)
    missing = Disk("lost", "aio", MIB, path=tmp_path / "absent.raw")

    async def run() -> None:
        async with driver(tmp_path / "work") as running:
            await running.start([*controllers(tmp_path), Controller("three", "scsi", (missing,))])

    with pytest.raises(HarnessError, match=r"the kernel refused .*control: Invalid argument"):
        asyncio.run(run())
    assert everything(root) == before


def test_what_is_in_use_is_tried_again_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel_module, "REMOVAL_DEADLINE_S", 0.3)
    driver, wanted = fake(tmp_path), controllers(tmp_path)[1:]
    root = tmp_path / "config" / "target"

    async def run() -> None:
        async with driver(tmp_path / "work") as running:
            await running.start(wanted)
            mark = root / "vhost" / port_name("two") / "tpgt_0" / IN_USE
            mark.touch()
            with pytest.raises(MilestoneTimeout, match="removal of the target from configfs"):
                # the guard goes on by itself
                await running.stop()
            assert mark.parent.is_dir()
            mark.unlink()
            wait_for(lambda: not mark.parent.exists())

    asyncio.run(run())
    wait_for(lambda: not list((tmp_path / "run").glob("*.journal")))
    assert not [name for name in everything(root) if "naa." in name or "rd_mcp" in name]


MAKER = """
import asyncio, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from targets.test_kernel_target import controllers, fake
base = Path(sys.argv[1])
async def run():
    running = fake(base)(base / "work")
    await running.__aenter__()
    await running.start(controllers(base))
    print("made", flush=True)
    await asyncio.sleep(600)
asyncio.run(run())
"""


def maker(tmp_path: Path) -> subprocess.Popen[bytes]:
    """Another process that has set the target up."""
    environment = os.environ | {"PYTHONPATH": ":".join(p for p in sys.path if p)}
    child = subprocess.Popen(
        [sys.executable, "-c", MAKER, str(tmp_path), str(HERE.parent)],
        stdout=subprocess.PIPE,
        env=environment,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"made\n"
    return child


def wait_for(what: Any) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_kill_leaves_nothing(tmp_path: Path) -> None:
    fake(tmp_path)
    root = tmp_path / "config" / "target"
    before = everything(root)
    child = maker(tmp_path)
    try:
        assert everything(root) != before
        held = next(root.glob("vhost/naa.*/tpgt_0")) / IN_USE
        held.touch()
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    # all but what QEMU still uses
    wait_for(lambda: not list(root.glob("vhost/naa.*/tpgt_0/lun/*")))
    assert held.exists()
    held.unlink()
    wait_for(lambda: everything(root) == before)
    wait_for(lambda: not list((tmp_path / "run").glob("*.journal")))


def test_what_a_killed_guard_left_is_removed_by_the_next(tmp_path: Path) -> None:
    driver = fake(tmp_path)
    root = tmp_path / "config" / "target"
    before = everything(root)
    child = maker(tmp_path)
    guards = [
        int(p.parent.name)
        for p in Path("/proc").glob("[0-9]*/stat")
        if (words := _stat(p)) and words[1] == str(child.pid) and _is_guard(p.parent)
    ]
    try:
        assert len(guards) == 1
        os.kill(guards[0], signal.SIGKILL)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert everything(root) != before and len(left_behind(tmp_path / "run")) == 1

    async def run() -> None:
        async with driver(tmp_path / "work") as running:
            await running.start(controllers(tmp_path)[1:])
            assert not left_behind(tmp_path / "run")

    asyncio.run(run())
    assert everything(root) == before


def _is_guard(process: Path) -> bool:
    try:
        return b"fake_configfs.py" in (process / "cmdline").read_bytes()
    except OSError:
        return False


def _stat(path: Path) -> list[str]:
    try:
        return path.read_text().rpartition(")")[2].split()
    except OSError:
        return []


def test_the_guard_that_is_really_used(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    for name in ("outer", "outer/inner"):
        journal.note("dir", name)
        (tmp_path / "tree" / name).mkdir(parents=True)
    done = subprocess.run(
        guard_command(tmp_path / "tree", journal), stdin=subprocess.DEVNULL, check=False, timeout=60
    )
    assert done.returncode == 0
    assert not list((tmp_path / "tree").iterdir()) and not journal.file.exists()


def test_a_half_written_step_was_not_done(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    journal.note("dir", "core/rd_mcp_1")
    with journal.file.open("a") as file:
        file.write('["dir", "core/rd_')
    assert [s.path for s in journal.steps()] == ["core/rd_mcp_1"]


def test_why_it_cannot_be_used(tmp_path: Path) -> None:
    driver = fake(tmp_path)
    assert driver.preflight() == str(tmp_path / "config" / "target")
    (tmp_path / "vhost-scsi").unlink()
    with pytest.raises(Unavailable, match=r"no vhost-scsi.*modprobe vhost_scsi"):
        driver.preflight()
    (tmp_path / "config/target/core").rmdir()
    (tmp_path / "config/target").rmdir()
    (tmp_path / "config/nvmet").mkdir()
    with pytest.raises(Unavailable, match="no target core"):
        driver.preflight()
    (tmp_path / "config/nvmet").rmdir()
    with pytest.raises(Unavailable, match="no configfs is mounted"):
        driver.preflight()


def test_a_path_that_the_kernel_cannot_be_told(tmp_path: Path) -> None:
    path = tmp_path / "a,b.raw"
    path.write_bytes(bytes(512))
    driver = fake(tmp_path)

    async def run() -> None:
        async with driver(tmp_path / "work") as running:
            await running.start([Controller("c", "scsi", (Disk("d", "aio", 512, path=path),))])

    with pytest.raises(HarnessError, match="no path with a comma"):
        asyncio.run(run())


class _Vm:
    pid = 4242


def test_time_is_that_of_the_threads_that_serve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = fake(tmp_path)(tmp_path / "work")
    running.guests.append(_Vm())  # type: ignore[arg-type]
    for place in ("4242/task/4243", "4242/task/4244", "77", "78"):
        directory = tmp_path / "proc" / place
        directory.mkdir(parents=True)
        name = "vhost-4242" if place in ("4242/task/4243", "77") else "other"
        (directory / "comm").write_text(f"{name}\n")
    monkeypatch.setattr(kernel_module, "thread_cpu_seconds", lambda pid, tid, known: 1.5)
    monkeypatch.setattr(kernel_module, "process_cpu_seconds", lambda pid: float(pid))
    assert running.cpu_seconds() == 78.5


def test_it_is_declined_where_it_is_missing() -> None:
    assert target.get("kernel").capabilities.devices == {"scsi"}
    assert target.get("kernel").capabilities.without("sockets") == "has no vhost-user sockets"
