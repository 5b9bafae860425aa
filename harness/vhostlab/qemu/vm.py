# SPDX-License-Identifier: BSD-3-Clause
"""A running VM: QEMU, its monitor, its console, its guest."""

from __future__ import annotations

import shlex
import signal
import socket
import time
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from qemu.qmp import QMPClient, QMPError

from vhostlab.agent import Agent
from vhostlab.errors import HarnessError, MilestoneTimeout
from vhostlab.guest import Guest
from vhostlab.images.image import ANSWER
from vhostlab.paths import socket_dir
from vhostlab.process import Process
from vhostlab.qemu.config import Channels, VmConfig, qemu_argv
from vhostlab.qemu.console import Console
from vhostlab.qemu.disks import Disk
from vhostlab.qemu.hotplug import UNPLUG_DEADLINE_S, MemoryModules, Slots
from vhostlab.wait import until

T = TypeVar("T")

QMP_DEADLINE_S = 30.0
EXIT_DEADLINE_S = 30.0


class Vm:
    """Async context manager around one QEMU. ``async with`` boots it up to the guest agent, or to
    the point where a guest can come in from another QEMU.

    Logs go to ``workdir``: console.log, qemu.log and qemu.sh (the command line).
    """

    def __init__(
        self,
        config: VmConfig,
        workdir: Path,
        *,
        stage_deadlines_s: dict[str, float] | None = None,
    ) -> None:
        self.config = config
        self.workdir = workdir.absolute()
        self.argv: list[str] = []
        self.boot_seconds = 0.0
        self._deadlines = {**config.image.stages, **(stage_deadlines_s or {})}
        self._stack = AsyncExitStack()
        self._process: Process | None = None
        self._console: Console | None = None
        self._agent: Agent | None = None
        self._guest: Guest | None = None
        self._qmp = QMPClient(config.name)
        self._slots = Slots(self._qmp, config.hotplug_slots, self.check)
        self._modules = MemoryModules(self._qmp, self.check)

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException as error:
            await self._close(error)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._close(error)

    async def start(self) -> None:
        """Start QEMU and wait until the guest's agent answers."""
        began = time.monotonic()
        await self.launch()
        if self.config.incoming:
            return
        for stage, deadline_s in self._deadlines.items():
            if stage != ANSWER:
                await self.wait_milestone(stage, deadline_s)
        await self._wait_agent(self._deadlines.get(ANSWER) or self._deadlines["agent"])
        self.boot_seconds = time.monotonic() - began

    async def launch(self) -> None:
        """Start QEMU and connect its monitor; do not wait for the guest."""
        self.workdir.mkdir(parents=True, exist_ok=True)
        sockets = self._stack.enter_context(socket_dir("vm"))
        log = self.workdir / "console.log"
        log.unlink(missing_ok=True)
        qmp, qmp_far = socket.socketpair()
        agent, agent_far = socket.socketpair()
        try:
            channels = Channels(qmp_far.fileno(), agent_far.fileno(), sockets / "console", log)
            self.argv = self.command(channels)
            (self.workdir / "qemu.sh").write_text(shlex.join(self.argv) + "\n")
            process = Process(
                self.argv,
                self.workdir / "qemu.log",
                pass_fds=(qmp_far.fileno(), agent_far.fileno()),
                cwd=self.workdir,
            )
            self._agent = Agent(agent)
            self._stack.push_async_callback(self._agent.close)
            self._process = await self._stack.enter_async_context(process)
        finally:
            qmp_far.close()
            agent_far.close()
        self._console = Console(log, channels.console_socket)
        self._guest = Guest(self._agent, self.check)
        await self._connect_monitor(qmp)

    def command(self, channels: Channels) -> list[str]:
        """The command line; a subclass may have one of its own."""
        return qemu_argv(self.config, channels)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def process(self) -> Process:
        return self._started(self._process)

    @property
    def qmp(self) -> QMPClient:
        """The monitor, connected."""
        return self._qmp

    @property
    def console(self) -> Console:
        return self._started(self._console)

    @property
    def agent(self) -> Agent:
        return self._started(self._agent)

    @property
    def guest(self) -> Guest:
        return self._started(self._guest)

    def check(self) -> None:
        """Raise when the guest cannot go on: its kernel panicked or QEMU ended."""
        self._check("a living guest", 0.0)

    async def wait_milestone(self, stage: str, deadline_s: float) -> float:
        """Wait for a stage of the boot on the console; return when it came (seconds)."""
        what = f"boot of {self.config.name}: {stage}"

        async def seen() -> float | None:
            self.console.poll()
            if stage in self.console.reached:
                return self.console.reached[stage]
            self._check(what, deadline_s)
            return None

        return await self._evident(until(what, deadline_s, seen))

    async def plug(self, disk: Disk) -> None:
        """Attach a disk to the running guest, in one of the slots the VM was made with."""
        try:
            await self._slots.plug(self.config.fitted(disk))
        except QMPError as error:
            raise HarnessError(f"QEMU refused disk {disk.id}: {error}") from error

    async def unplug(self, disk: Disk, timeout_s: float = UNPLUG_DEADLINE_S) -> None:
        """Take a plugged disk out again; return when the guest has let go of it."""
        try:
            await self._evident(self._slots.unplug(disk, timeout_s))
        except QMPError as error:
            raise HarnessError(f"QEMU refused to remove disk {disk.id}: {error}") from error

    async def plug_memory(self, name: str, size_mib: int) -> None:
        """Put a memory module into the running guest."""
        try:
            await self._modules.plug(name, size_mib)
        except QMPError as error:
            raise HarnessError(f"QEMU refused memory module {name}: {error}") from error

    async def unplug_memory(self, name: str, timeout_s: float = UNPLUG_DEADLINE_S) -> None:
        """Take it out again; return when the guest has let go of it."""
        try:
            await self._evident(self._modules.unplug(name, timeout_s))
        except QMPError as error:
            raise HarnessError(f"QEMU refused to remove module {name}: {error}") from error

    async def execute(self, command: str, arguments: dict[str, object] | None = None) -> Any:
        """A monitor command; its errors as HarnessError."""
        try:
            return await self._qmp.execute(command, arguments)
        except QMPError as error:
            raise HarnessError(f"QEMU refused {command}: {error}") from error

    async def vcpu_threads(self) -> tuple[int, ...]:
        """The threads of this host that the processors of the guest are."""
        answer = await self.execute("query-cpus-fast")
        found = {int(cpu["cpu-index"]): int(cpu["thread-id"]) for cpu in answer}
        return tuple(found[index] for index in sorted(found))

    def kill(self) -> None:
        """SIGKILL to QEMU, as if the host had taken it away."""
        self.process.kill()

    def pause(self) -> None:
        """Stop QEMU with everything in it (SIGSTOP)."""
        self.process.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.signal(signal.SIGCONT)

    async def wait_arrival(self, deadline_s: float) -> None:
        """Wait until a guest that came from another QEMU answers here."""
        await self._wait_agent(deadline_s)

    async def wait_exit(self, timeout_s: float = EXIT_DEADLINE_S) -> int:
        """Wait until QEMU has ended; return its status."""
        try:
            return await self.process.wait(timeout_s)
        except TimeoutError:
            raise self._timeout(f"end of QEMU of {self.config.name}", timeout_s) from None

    async def shutdown(self, timeout_s: float = EXIT_DEADLINE_S) -> int:
        """Let the guest power itself off; return QEMU's status."""
        try:
            # The agent gives no answer to this one when it succeeds.
            await self.agent.execute("guest-shutdown", {"mode": "powerdown"}, timeout_s=1.0)
        except (TimeoutError, HarnessError, ConnectionError):
            if not self.process.alive:
                return await self.wait_exit(timeout_s)
        return await self.wait_exit(timeout_s)

    async def _connect_monitor(self, sock: socket.socket) -> None:
        async def connect() -> bool:
            await self._qmp.connect(sock)
            return True

        what = f"QEMU monitor of {self.config.name}"
        try:
            await self._evident(until(what, QMP_DEADLINE_S, connect))
        except (QMPError, OSError, EOFError) as error:
            # QEMU's end is closed because it could not start: its own words say why.
            await self.process.wait(5.0)
            raise self.process.died("QEMU") from error
        self._stack.push_async_callback(self._disconnect_monitor)

    async def _disconnect_monitor(self) -> None:
        try:
            await self._qmp.disconnect()
        except (QMPError, OSError, EOFError):
            return

    async def _wait_agent(self, deadline_s: float) -> None:
        what = f"answer of the guest agent of {self.config.name}"

        async def answered() -> bool | None:
            self.console.poll()
            self._check(what, deadline_s)
            return True if await self.guest.answers(2.0) else None

        await self._evident(until(what, deadline_s, answered))

    def _check(self, what: str, deadline_s: float) -> None:
        self.console.poll()
        reason = ""
        if self.console.panic:
            reason = f"the kernel of {self.config.name} panicked: {self.console.panic}"
        elif not self.process.alive:
            words = self.process.log_tail(3).strip()
            reason = f"QEMU of {self.config.name} ended with status {self.process.returncode}"
            reason += f": {words}" if words else ""
        if reason:
            raise self._timeout(what, deadline_s, reason)

    def _timeout(self, what: str, deadline_s: float, reason: str = "") -> MilestoneTimeout:
        return MilestoneTimeout(what, deadline_s, reason=reason, console_tail=self.console.tail())

    async def _evident(self, wait: Awaitable[T]) -> T:
        """Pass on what a wait gives; to its error add the console."""
        try:
            return await wait
        except MilestoneTimeout as error:
            error.add_evidence(console_tail=self.console.tail())
            raise

    async def _close(self, error: BaseException | None) -> None:
        if isinstance(error, MilestoneTimeout) and self._console is not None:
            error.add_evidence(console_tail=self._console.tail())
        await self._stack.aclose()

    def _started(self, part: T | None) -> T:
        if part is None:
            raise HarnessError(f"the VM {self.config.name} was not started")
        return part
