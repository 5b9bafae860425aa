# SPDX-License-Identifier: BSD-3-Clause
"""Commands and files inside a guest, through its agent."""

from __future__ import annotations

import base64
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from vhostlab.agent import ANSWER_TIMEOUT_S, Agent, AgentError
from vhostlab.errors import HarnessError, MilestoneTimeout
from vhostlab.wait import until

CHUNK = 256 * 1024
"""File content per request; base64 makes a third more of it."""

END_DEADLINE_S = 10.0

_WORDS_SHOWN = 100


@dataclass(frozen=True)
class Completed:
    """A command that ended. ``rc`` is the negative signal number if a signal ended it."""

    cmd: str
    rc: int
    stdout: str
    stderr: str
    seconds: float


class CommandFailed(HarnessError):
    """A guest command that had to succeed did not."""

    def __init__(self, completed: Completed) -> None:
        self.completed = completed
        words = (completed.stderr.strip() or completed.stdout.strip()).splitlines()
        shown = "\n".join(words[-20:]) or "no output"
        super().__init__(f"in the guest: `{_short(completed.cmd)}` gave {completed.rc}: {shown}")


class Guest:
    """A guest that answers. ``check`` raises when the VM is known to be dead."""

    def __init__(self, agent: Agent, check: Callable[[], None]) -> None:
        self.agent = agent
        self._check = check

    async def run(
        self,
        cmd: str | Sequence[str],
        timeout_s: float = 60.0,
        check: bool = True,
        stdin: bytes = b"",
    ) -> Completed:
        """Run a shell command (a string) or a program with arguments (a list) to its end.

        At the deadline the command and all its children are killed in the guest and
        MilestoneTimeout is raised. With ``check`` a status other than 0 raises CommandFailed.
        """
        argv = ["/bin/sh", "-c", cmd] if isinstance(cmd, str) else list(cmd)
        text = cmd if isinstance(cmd, str) else shlex.join(cmd)
        began = time.monotonic()
        # A session of its own: its process group can be killed as a whole.
        request: dict[str, object] = {"path": "setsid", "arg": argv, "capture-output": True}
        if stdin:
            request["input-data"] = base64.b64encode(stdin).decode()
        pid = (await self._ask("guest-exec", request))["pid"]

        async def ended() -> dict[str, object] | None:
            status: dict[str, object] = await self._ask("guest-exec-status", {"pid": pid})
            return status if status["exited"] else None

        try:
            status = await until(f"end of guest command `{_short(text)}`", timeout_s, ended)
        except MilestoneTimeout:
            await self._kill_group(pid)
            raise
        signal = status.get("signal")
        completed = Completed(
            cmd=text,
            rc=-int(str(signal)) if signal else int(str(status.get("exitcode", 0))),
            stdout=_text(status, "out-data"),
            stderr=_text(status, "err-data"),
            seconds=time.monotonic() - began,
        )
        for stream in ("out", "err"):
            if status.get(f"{stream}-truncated"):
                raise HarnessError(f"the output of `{_short(text)}` is too long for the agent")
        if check and completed.rc != 0:
            raise CommandFailed(completed)
        return completed

    async def read_file(self, path: str) -> bytes:
        """The content of a file of the guest."""
        handle = await self._ask("guest-file-open", {"path": path, "mode": "r"})
        parts = []
        try:
            while True:
                answer = await self._ask("guest-file-read", {"handle": handle, "count": CHUNK})
                parts.append(base64.b64decode(answer["buf-b64"]))
                if answer["eof"] or answer["count"] == 0:
                    return b"".join(parts)
        finally:
            await self._ask("guest-file-close", {"handle": handle})

    async def write_file(self, path: str, data: bytes | str) -> None:
        """Make or replace a file of the guest."""
        rest = data.encode() if isinstance(data, str) else data
        handle = await self._ask("guest-file-open", {"path": path, "mode": "w"})
        try:
            while rest:
                part = base64.b64encode(rest[:CHUNK]).decode()
                answer = await self._ask("guest-file-write", {"handle": handle, "buf-b64": part})
                if answer["count"] <= 0:
                    raise HarnessError(f"in the guest: no progress in writing {path}")
                rest = rest[answer["count"] :]
        finally:
            await self._ask("guest-file-close", {"handle": handle})

    async def answers(self, timeout_s: float = 5.0) -> bool:
        """Whether the agent answers now."""
        try:
            await self.agent.synchronise(timeout_s)
        except (TimeoutError, HarnessError, ConnectionError):
            return False
        return True

    async def _ask(self, command: str, arguments: dict[str, object]) -> Any:
        self._check()
        try:
            return await self.agent.execute(command, arguments)
        except TimeoutError:
            self._check()
            raise MilestoneTimeout(
                f"answer of the guest agent to {command}", ANSWER_TIMEOUT_S
            ) from None
        except ConnectionError:
            await self._say_why()
            raise

    async def _say_why(self) -> None:
        """The channel closed: QEMU is ending, and in a moment it can be seen why."""

        async def dead() -> None:
            self._check()

        await until("end of QEMU, whose agent channel closed", END_DEADLINE_S, dead)

    async def _kill_group(self, pid: object) -> None:
        try:
            await self._ask("guest-exec", {"path": "kill", "arg": ["-9", "--", f"-{pid}"]})
        except (AgentError, MilestoneTimeout):
            return


def _text(status: dict[str, object], key: str) -> str:
    return base64.b64decode(str(status.get(key, ""))).decode(errors="replace")


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _WORDS_SHOWN else line[: _WORDS_SHOWN - 3] + "..."
