# SPDX-License-Identifier: BSD-3-Clause
"""Our own daemon, started as an operator starts it: a configuration file and a socket directory."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import Any

from vhostlab.errors import HarnessError, Unavailable
from vhostlab.paths import source_dir
from vhostlab.process import Adopted, Process
from vhostlab.rpc import RpcClient
from vhostlab.target.base import READY_DEADLINE_S, Controller, Target, TargetCapabilities
from vhostlab.target.conf import plan
from vhostlab.wait import until


class VhostlabTarget(Target):
    """The daemon ``target/app/vhost/vhost``; $VHOSTLAB_TARGET_PROGRAM names another build of it."""

    name = "vhostlab"
    capabilities = TargetCapabilities(
        devices=frozenset({"blk", "scsi"}),
        disk_kinds=frozenset({"null", "malloc", "aio"}),
        discard=True,
        write_zeroes=True,
        readonly=True,
        ring_formats=frozenset({"split", "packed"}),
        max_queues=254,
        serial="configured",
        write_cache=True,
        modes=frozenset({"adaptive", "poll", "event"}),
        migration=True,
        max_cores=1024,
        counters=True,
    )

    reactor_mask = "0x1"

    @classmethod
    def preflight(cls) -> str:
        return str(find_daemon())

    def whereabouts(self) -> list[str]:
        return [
            *super().whereabouts(),
            f"RPC: vhostctl -s {self.rpc.path} (or any JSON-RPC client)",
        ]

    @property
    def rpc(self) -> RpcClient:
        """The management socket."""
        return RpcClient(self.sockets / "rpc.sock")

    async def stats(self) -> dict[str, Any] | None:
        """Counters of every controller and queue."""
        answer = await self.rpc.call("vhost_get_stats")
        return answer if isinstance(answer, dict) else {"controllers": answer}

    async def kill(self) -> None:
        """A build that counts its lines (vhostlab coverage) writes the counts down first."""
        if os.environ.get("GCOV_PREFIX") and self._process is not None and self._process.alive:
            with contextlib.suppress(HarnessError):
                await self.rpc.call("gcov_dump")
        await super().kill()

    async def hand_over(self, by_signal: bool = False) -> float:
        """Let another process of the daemon take over; the guests' pause, in milliseconds."""
        old = self.process

        async def over() -> dict[str, Any] | None:
            status = dict(await self.rpc.call("handover_get_status"))
            if status["state"] == "failed":
                raise HarnessError(f"the hand-over failed: {status['reason']}")
            return status if status["pid"] != old.pid else None

        if by_signal:
            old.signal(signal.SIGUSR2)
        else:
            await self.rpc.call("handover")
        status = await until("another process of the daemon", READY_DEADLINE_S, over)
        new = Adopted(int(status["pid"]), old.argv, self.log)
        ended = await old.wait(READY_DEADLINE_S)
        self._process = new
        if ended != 0:
            raise HarnessError(f"the process that handed over ended with status {ended}")
        return float(status["pause_ms"])

    async def _start(self, controllers: tuple[Controller, ...]) -> None:
        mask = hex(sum(1 << core for core in self.cores)) if self.cores else self.reactor_mask
        made = plan(controllers, mask)
        conf = self.workdir / "vhost.conf"
        conf.write_text(made.conf)
        argv = [
            str(self._program or find_daemon()),
            *("-c", str(conf)),
            *("-S", str(self.sockets)),
            *("-r", str(self.sockets / "rpc.sock")),
            *(("--mode", self.mode) if self.mode else ()),
            *(("--mem-slots", str(self.memory_slots)) if self.memory_slots else ()),
        ]
        self._process = Process(argv, self.log)
        await self._process.start()
        await self._wait_rpc()
        for method, params in made.calls:
            await self.rpc.call(method, params)
        await self._wait_sockets()

    async def _wait_rpc(self) -> None:
        async def answers() -> bool | None:
            if not self.process.alive:
                raise self.process.died("the vhost daemon")
            try:
                await self.rpc.call("vhost_get_controllers", timeout_s=2.0)
            except HarnessError:
                return None
            return True

        await until("answer of the vhost daemon's RPC socket", READY_DEADLINE_S, answers)

    async def _wait_sockets(self) -> None:
        async def listening() -> bool | None:
            if not self.process.alive:
                raise self.process.died("the vhost daemon")
            return True if all(p.is_socket() for p in self.endpoints.values()) else None

        await until("sockets of the vhost daemon", READY_DEADLINE_S, listening)


def find_daemon() -> Path:
    """The daemon's program, built."""
    if own := os.environ.get("VHOSTLAB_TARGET_PROGRAM"):
        path = Path(own).absolute()
    else:
        path = source_dir() / "target" / "app" / "vhost" / "vhost"
    if not os.access(path, os.X_OK) or not path.is_file():
        raise Unavailable(f"the vhost daemon is not built: {path} is missing", "run `make`")
    return path
