# SPDX-License-Identifier: BSD-3-Clause
"""SPDK's vhost target, installed or running, over its JSON-RPC.

$VHOSTLAB_SPDK (``--spdk``) names it: a directory in which SPDK was built, the program itself, or
the RPC socket of one that runs. That one is not ours: it is neither ended nor killed, what is made
in it has names of its own and is deleted again.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vhostlab.errors import HarnessError, Unavailable
from vhostlab.host.facts import hugepage_pools
from vhostlab.process import Foreign, Process, output_of
from vhostlab.rpc import RpcClient, RpcError
from vhostlab.target.base import (
    READY_DEADLINE_S,
    VERSION_TIMEOUT_S,
    Controller,
    Disk,
    Target,
    TargetCapabilities,
    distinct,
    version_in,
)
from vhostlab.wait import until

VARIABLE = "VHOSTLAB_SPDK"
HINT = (
    f"give --spdk PATH or set {VARIABLE}: a directory in which SPDK was built, its program vhost, "
    "or the RPC socket of one that runs"
)

#: Where the program is in a built tree, and in an installed one.
PROGRAMS = ("build/bin/vhost", "bin/vhost", "app/vhost/vhost")

#: What it gets, and that in huge pages where there are enough.
MEMORY_MIB = 512
PAGE_KIB = 2048

CPU_MASK = "0x1"

#: Of a SCSI controller, in SPDK's source as in the old guide.
MAX_TARGETS = 8

Call = tuple[str, dict[str, object]]


class Spdk(Target):
    """A ``vhost`` of SPDK that is started here."""

    name = "spdk"
    capabilities = TargetCapabilities(
        devices=frozenset({"blk", "scsi"}),
        disk_kinds=frozenset({"null", "malloc", "aio"}),
        # memory disks have it, files do not
        discard=False,
        write_zeroes=False,
        readonly=True,
        # packed rings on blk alone
        ring_formats=frozenset({"split"}),
        max_queues=64,
        serial=None,
        counters=True,
        sleeps=False,
    )

    #: In front of the names of everything that is made.
    prefix = ""

    @classmethod
    def preflight(cls) -> str:
        return str(_program(_named()))

    @classmethod
    async def version(cls) -> str:
        return version_in(await output_of([cls.preflight(), "--version"], VERSION_TIMEOUT_S))

    def __init__(
        self, workdir: Path, *, program: Path | None = None, sockets: Path | None = None
    ) -> None:
        super().__init__(workdir, program=program, sockets=sockets)
        self._controllers: tuple[Controller, ...] = ()

    @property
    def rpc(self) -> RpcClient:
        """The management socket."""
        return RpcClient(self.sockets / "rpc.sock")

    async def stats(self) -> dict[str, Any] | None:
        """Requests per controller, as the sum over its disks; the work of threads and reactors.

        SPDK counts per disk and not per queue: all is queue 0's.
        """
        disks = {b["name"]: b for b in (await self.rpc.call("bdev_get_iostat"))["bdevs"]}
        found = []
        for controller in self._controllers:
            mine = [disks[self.prefix + d.name] for d in controller.disks]
            counted = {
                "reads": sum(int(d["num_read_ops"]) for d in mine),
                "writes": sum(int(d["num_write_ops"]) for d in mine),
                "discards": sum(int(d.get("num_unmap_ops", 0)) for d in mine),
                "read_bytes": sum(int(d["bytes_read"]) for d in mine),
                "write_bytes": sum(int(d["bytes_written"]) for d in mine),
            }
            requests = sum(counted[name] for name in ("reads", "writes", "discards"))
            queue = {"queue": 0, "requests": requests, **counted}
            found.append({"ctrlr": controller.name, "queues": [queue]})
        threads = await self.rpc.call("thread_get_stats")
        reactors = await self.rpc.call("framework_get_reactors")
        return {
            "controllers": found,
            "threads": threads["threads"],
            "reactors": reactors["reactors"],
        }

    def whereabouts(self) -> list[str]:
        return [*super().whereabouts(), f"RPC: scripts/rpc.py -s {self.rpc.path}"]

    async def _start(self, controllers: tuple[Controller, ...]) -> None:
        argv = [
            str(self._program or self.preflight()),
            *("-S", str(self.sockets)),
            *("-r", str(self.rpc.path)),
            *("-m", CPU_MASK),
            *("-s", str(MEMORY_MIB)),
            *(() if _hugepages() else ("--no-huge",)),
        ]
        self._process = Process(argv, self.log)
        await self._process.start()
        await self._wait_rpc()
        await self._make(controllers)

    async def _wait_rpc(self) -> None:
        async def answers() -> bool | None:
            if not self.process.alive:
                raise self.process.died("SPDK's vhost")
            try:
                await self.rpc.call("framework_wait_init", timeout_s=READY_DEADLINE_S)
            except RpcError:
                raise
            except HarnessError:
                return None
            return True

        await until("answer of SPDK's RPC socket", READY_DEADLINE_S, answers)

    async def _make(self, controllers: tuple[Controller, ...]) -> None:
        for method, params in creation(controllers, self.prefix):
            await self.rpc.call(method, params)
        self._controllers = controllers
        for controller in controllers:
            name = self.prefix + controller.name
            shown = await self.rpc.call("vhost_get_controllers", {"name": name})
            self.endpoints[controller.name] = Path(shown[0]["socket"])


class RunningSpdk(Spdk):
    """A ``vhost`` of SPDK that somebody else has started."""

    capabilities = TargetCapabilities(
        devices=Spdk.capabilities.devices,
        disk_kinds=Spdk.capabilities.disk_kinds,
        discard=False,
        write_zeroes=False,
        readonly=True,
        ring_formats=Spdk.capabilities.ring_formats,
        max_queues=Spdk.capabilities.max_queues,
        serial=None,
        process=False,
        counters=True,
        sleeps=False,
    )

    def __init__(
        self, workdir: Path, *, program: Path | None = None, sockets: Path | None = None
    ) -> None:
        super().__init__(workdir, program=program, sockets=sockets)
        self.prefix = f"vl-{os.getpid()}-{id(self):x}-"

    @classmethod
    def preflight(cls) -> str:
        return str(_named())

    @classmethod
    async def version(cls) -> str:
        shown = await RpcClient(_named()).call("spdk_get_version")
        return version_in(str(shown["version"]))

    @property
    def rpc(self) -> RpcClient:
        return RpcClient(_named())

    async def stop(self) -> None:
        """Delete what was made, as far as there is still somebody who has it."""
        made, self._controllers = self._controllers, ()
        self._process = None
        for method, params in deletion(made, self.prefix):
            try:
                await self.rpc.call(method, params)
            except RpcError:
                continue  # it was not made, or the person has removed it
            except HarnessError:
                return

    async def kill(self) -> None:
        raise HarnessError("the SPDK that runs is not ours to kill")

    def terminate(self) -> None:
        raise HarnessError("the SPDK that runs is not ours to end")

    async def _start(self, controllers: tuple[Controller, ...]) -> None:
        pid = _server(self.rpc.path)
        self._process = Foreign(pid, (f"process {pid}",), self.log)
        # all of them, for whatever a failure leaves
        self._controllers = controllers
        await self._make(controllers)


def creation(controllers: Sequence[Controller], prefix: str = "") -> list[Call]:
    """The calls that bring controllers about."""
    calls: list[Call] = [_create_bdev(disk, prefix) for disk in distinct(controllers)]
    for controller in controllers:
        name = prefix + controller.name
        if controller.device == "blk":
            disk = controller.disks[0]
            create: dict[str, object] = {"ctrlr": name, "dev_name": prefix + disk.name}
            if controller.readonly or disk.readonly:
                create["readonly"] = True
            calls.append(("vhost_create_blk_controller", create))
            continue
        if len(controller.disks) > MAX_TARGETS:
            raise HarnessError(f"controller {name}: SPDK has at most {MAX_TARGETS} targets")
        calls.append(("vhost_create_scsi_controller", {"ctrlr": name}))
        for number, disk in enumerate(controller.disks):
            add = {"ctrlr": name, "scsi_target_num": number, "bdev_name": prefix + disk.name}
            calls.append(("vhost_scsi_controller_add_target", dict(add)))
    return calls


def deletion(controllers: Sequence[Controller], prefix: str = "") -> list[Call]:
    """The calls that remove them."""
    calls: list[Call] = []
    for controller in controllers:
        name = prefix + controller.name
        if controller.device == "scsi":
            for number in range(len(controller.disks)):
                remove: dict[str, object] = {"ctrlr": name, "scsi_target_num": number}
                calls.append(("vhost_scsi_controller_remove_target", remove))
        calls.append(("vhost_delete_controller", {"ctrlr": name}))
    for disk in distinct(controllers):
        calls.append((f"bdev_{disk.kind}_delete", {"name": prefix + disk.name}))
    return calls


def _create_bdev(disk: Disk, prefix: str) -> Call:
    create: dict[str, object] = {"name": prefix + disk.name, "block_size": disk.block_size}
    if disk.path is None:
        create["num_blocks"] = disk.size_bytes // disk.block_size
    else:
        create["filename"] = str(disk.path.absolute())
        if disk.readonly:
            create["readonly"] = True
    return f"bdev_{disk.kind}_create", create


def _named() -> Path:
    named = os.environ.get(VARIABLE, "")
    if not named:
        raise Unavailable("no SPDK is named", HINT)
    path = Path(named).absolute()
    if not path.exists():
        raise Unavailable(f"there is no SPDK at {path}", HINT)
    return path


def _program(path: Path) -> Path:
    for candidate in [path / name for name in PROGRAMS] if path.is_dir() else [path]:
        if candidate.is_file() and os.access(candidate, os.X_OK):
            return candidate
    raise Unavailable(f"{path} is no program vhost of SPDK and holds none", HINT)


def driver() -> type[Spdk]:
    """The one for what is named: a socket is of one that runs."""
    named = os.environ.get(VARIABLE, "")
    return RunningSpdk if named and Path(named).is_socket() else Spdk


def _hugepages() -> bool:
    free = next((p.free for p in hugepage_pools() if p.size_kib == PAGE_KIB), 0)
    return free * PAGE_KIB >= MEMORY_MIB * 1024


def _server(path: Path) -> int:
    """The process behind a socket."""
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(path))
        except OSError as error:
            raise HarnessError(f"no SPDK answers at {path}: {error.strerror}") from error
        said = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", said)[0])
