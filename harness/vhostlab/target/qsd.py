# SPDX-License-Identifier: BSD-3-Clause
"""qemu-storage-daemon: the reference target. vhost-user-blk only."""

from __future__ import annotations

import socket

from qemu.qmp import QMPClient, QMPError

from vhostlab.process import Process, find_program
from vhostlab.qemu.disks import Properties, keyval
from vhostlab.target.base import READY_DEADLINE_S, Controller, Target, TargetCapabilities
from vhostlab.target.nodes import block_nodes
from vhostlab.wait import until

HINT = "install qemu-system-common (Debian, Ubuntu) or qemu-common (Fedora)"


class QemuStorageDaemon(Target):
    """One daemon process with one iothread and one export per controller."""

    iothread = True
    """Without, the main thread serves. 7.2 does not end by SIGTERM under load with one: the main
    thread waits for the iothread with a lock that this one needs."""

    name = "qemu-storage-daemon"
    capabilities = TargetCapabilities(
        devices=frozenset({"blk"}),
        disk_kinds=frozenset({"null", "malloc", "aio"}),
        discard=True,
        write_zeroes=True,
        readonly=True,
        ring_formats=frozenset({"split"}),
        max_queues=64,
        serial="vhost_user_blk",
    )

    @classmethod
    def preflight(cls) -> str:
        return find_program(cls.name, HINT)

    async def _start(self, controllers: tuple[Controller, ...]) -> None:
        program = str(self._program or self.preflight())
        monitor, far = socket.socketpair()
        with far:
            argv = [program, *(("--object", "iothread,id=io0") if self.iothread else ())]
            for controller in controllers:
                argv += self._controller(controller)
            # Last: when the monitor answers, all that stands before it exists.
            argv += ["--chardev", f"socket,id=qmp,fd={far.fileno()}", "--monitor", "chardev=qmp"]
            self._process = Process(argv, self.log, pass_fds=(far.fileno(),))
            await self._process.start()
        await self._wait_ready(monitor)

    async def _wait_ready(self, monitor: socket.socket) -> None:
        client = QMPClient(self.name)

        async def connect() -> bool:
            await client.connect(monitor)
            return True

        try:
            await until("monitor of qemu-storage-daemon", READY_DEADLINE_S, connect)
        except (QMPError, OSError, EOFError) as error:
            await self.process.wait(5.0)
            raise self.process.died(self.name) from error
        self._stack.push_async_callback(_disconnect, client)

    def _controller(self, controller: Controller) -> list[str]:
        disk = controller.disks[0]
        readonly = controller.readonly or disk.readonly
        words: list[str] = []
        for node in block_nodes(disk, self.workdir, readonly):
            words += ["--blockdev", keyval(node)]
        export: Properties = {
            "type": "vhost-user-blk",
            "id": f"export-{controller.name}",
            "node-name": disk.name,
            "addr.type": "unix",
            "addr.path": str(self.endpoints[controller.name]),
            "writable": not readonly,
            "num-queues": controller.num_queues,
            "logical-block-size": disk.block_size,
            **({"iothread": "io0"} if self.iothread else {}),
        }
        return [*words, "--export", keyval(export)]


async def _disconnect(client: QMPClient) -> None:
    try:
        await client.disconnect()
    except (QMPError, OSError, EOFError):
        return
