# SPDX-License-Identifier: BSD-3-Clause
"""A child process that cannot outlive the harness.

Own process group (a Ctrl-C at the terminal reaches the harness alone), SIGKILL from the kernel
when the harness dies, and from the guardian for all of its group, only the descriptors it was
given, output in a log file.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import select
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from vhostlab.errors import HarnessError, Unavailable
from vhostlab.guardian import GUARDIAN

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)
_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


def find_program(name: str, hint: str) -> str:
    """The absolute path of ``name``, also looked for where administration commands lie."""
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin")
    if path is None:
        raise Unavailable(f"{name} was not found", hint)
    return path


def tail(path: Path, lines: int, limit: int = 64 * 1024) -> str:
    """The last ``lines`` lines of a file that may be large, growing or absent."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - limit))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def process_cpu_seconds(pid: int) -> float:
    """User plus system time of a process and all its threads, so far."""
    stat = Path(f"/proc/{pid}/stat").read_text()
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _CLOCK_TICKS


def thread_cpu_seconds(pid: int, thread: int, otherwise: float) -> float:
    """User plus system time of one thread, so far; ``otherwise`` when there is none (any more)."""
    try:
        stat = Path(f"/proc/{pid}/task/{thread}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return otherwise
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _CLOCK_TICKS


class Process:
    """Async context manager around one child; leaving it ends the child."""

    def __init__(
        self,
        argv: Sequence[str],
        log: Path,
        *,
        pass_fds: Sequence[int] = (),
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stop_timeout_s: float = 5.0,
    ) -> None:
        self.argv = tuple(argv)
        self.log = log
        self._pass_fds = tuple(pass_fds)
        self._cwd = cwd
        self._env = None if env is None else {**os.environ, **env}
        self._stop_timeout_s = stop_timeout_s
        self._child: asyncio.subprocess.Process | None = None
        self._cpu_seconds = 0.0
        self._group = 0

    async def start(self) -> None:
        """Start the child; its output is appended to the log."""
        parent = os.getpid()

        def die_with_parent() -> None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)

        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            try:
                self._child = await asyncio.create_subprocess_exec(
                    *self.argv,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=self._cwd,
                    env=self._env,
                    pass_fds=self._pass_fds,
                    process_group=0,
                    preexec_fn=die_with_parent,
                )
            except (FileNotFoundError, PermissionError) as error:
                raise Unavailable(f"cannot start {self.argv[0]}: {error.strerror}") from error
        self._watch(self._child.pid)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    @property
    def pid(self) -> int:
        return self._running().pid

    @property
    def returncode(self) -> int | None:
        """None while it runs (or before it started); the negative signal number if killed."""
        return None if self._child is None else self._child.returncode

    @property
    def alive(self) -> bool:
        return self._child is not None and self._child.returncode is None

    def signal(self, number: int) -> None:
        """Send a signal to the child; none is sent to one that has ended."""
        if self._child is not None and self._child.returncode is None:
            self._child.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, now."""
        self.signal(signal.SIGKILL)

    async def wait(self, timeout_s: float | None = None) -> int:
        """Wait for the end; return the exit status. TimeoutError when it goes on running."""
        child = self._running()
        if timeout_s is None:
            return await child.wait()
        async with asyncio.timeout(timeout_s):
            return await child.wait()

    async def stop(self) -> None:
        """SIGTERM, then SIGKILL when it does not end in time. Harmless when it has ended."""
        if self._child is None:
            return
        if self._child.returncode is None:
            self._remember_cpu()
            self.signal(signal.SIGTERM)
            try:
                await self.wait(self._stop_timeout_s)
            except TimeoutError:
                self.kill()
                await self._child.wait()
        self._unwatch()

    def log_tail(self, lines: int = 20) -> str:
        return tail(self.log, lines)

    def cpu_seconds(self) -> float:
        """CPU time used so far; the last known value once the child has ended."""
        self._remember_cpu()
        return self._cpu_seconds

    def died(self, name: str) -> HarnessError:
        """The error for a child that ended when it should not have."""
        words = self.log_tail(5).strip() or "no output"
        return HarnessError(
            f"{name} ended with status {self.returncode}: {words}", f"see {self.log}"
        )

    def _remember_cpu(self) -> None:
        if self._child is not None and self._child.returncode is None:
            try:
                self._cpu_seconds = process_cpu_seconds(self._child.pid)
            except (FileNotFoundError, ProcessLookupError):
                return

    def _watch(self, group: int) -> None:
        self._unwatch()
        GUARDIAN.add_group(group)
        self._group = group

    def _unwatch(self) -> None:
        if self._group:
            GUARDIAN.release_group(self._group)
            self._group = 0

    def _running(self) -> asyncio.subprocess.Process:
        if self._child is None:
            raise HarnessError(f"{Path(self.argv[0]).name} was not started")
        return self._child


class Foreign(Process):
    """A process that somebody else has started: it is looked at, and never ended by us.

    Nobody can tell us its exit status.
    """

    def __init__(self, pid: int, argv: Sequence[str], log: Path) -> None:
        super().__init__(argv, log)
        self._pid = pid
        self._pidfd = os.pidfd_open(pid)

    def __del__(self) -> None:
        os.close(self._pidfd)

    @property
    def pid(self) -> int:
        return self._pid

    @property
    def returncode(self) -> int | None:
        return None if self.alive else 0

    @property
    def alive(self) -> bool:
        return not select.select([self._pidfd], [], [], 0)[0]

    def signal(self, number: int) -> None:
        raise HarnessError(f"process {self._pid} is not ours to end")

    async def wait(self, timeout_s: float | None = None) -> int:
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        loop.add_reader(self._pidfd, ended.set)
        try:
            async with asyncio.timeout(timeout_s):
                await ended.wait()
        finally:
            loop.remove_reader(self._pidfd)
        return 0

    async def stop(self) -> None:
        """We have nothing to do with it any more."""
        self._remember_cpu()

    def _remember_cpu(self) -> None:
        with suppress(FileNotFoundError, ProcessLookupError):
            self._cpu_seconds = process_cpu_seconds(self._pid)


class Adopted(Foreign):
    """A process that is not our child, but ours: the one that a child of ours has handed over to.

    It is in the child's process group. The kernel does not end it when the harness dies: the
    guardian does.
    """

    def __init__(self, pid: int, argv: Sequence[str], log: Path) -> None:
        super().__init__(pid, argv, log)
        self._watch(os.getpgid(pid))

    def signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, number)

    async def stop(self) -> None:
        self._remember_cpu()
        self.signal(signal.SIGTERM)
        try:
            await self.wait(self._stop_timeout_s)
        except TimeoutError:
            self.kill()
            await self.wait()
        self._unwatch()


def spawn(
    argv: Sequence[str],
    log: Path,
    pass_fds: Sequence[int] = (),
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Process:
    """``async with spawn([...], log) as process``."""
    return Process(argv, log, pass_fds=pass_fds, cwd=cwd, env=env)


async def output_of(
    argv: Sequence[str], timeout_s: float, env: Mapping[str, str] | None = None
) -> str:
    """Run a short command; return its standard output as text. HarnessError when it fails."""
    return (await output_bytes(argv, timeout_s, env)).decode(errors="replace")


async def output_bytes(
    argv: Sequence[str], timeout_s: float, env: Mapping[str, str] | None = None
) -> bytes:
    """Run a short command; return its standard output. HarnessError when it fails."""
    try:
        child = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=None if env is None else {**os.environ, **env},
        )
    except (FileNotFoundError, PermissionError) as error:
        raise Unavailable(f"cannot start {argv[0]}: {error.strerror}") from error
    try:
        async with asyncio.timeout(timeout_s):
            out, err = await child.communicate()
    except BaseException as error:
        if child.returncode is None:
            child.kill()
            await child.wait()
        if isinstance(error, TimeoutError):
            raise HarnessError(f"{argv[0]} did not end within {timeout_s:g} s") from None
        raise
    if child.returncode != 0:
        words = err.decode(errors="replace").strip() or out.decode(errors="replace").strip()
        last = words.splitlines()[-1] if words else "no output"
        raise HarnessError(f"{Path(argv[0]).name} failed (status {child.returncode}): {last}")
    return out


if sys.platform != "linux":  # pragma: no cover
    raise ImportError("vhostlab runs on Linux only")
