# SPDX-License-Identifier: BSD-3-Clause
"""The errors of the harness.

Each one is a sentence for a person. ``hint`` says what to do about it; ``exit_status`` is what a
command that ends with this error returns: 1 something failed, 2 this machine lacks something.
"""

from __future__ import annotations

import shlex
import sys
from contextvars import ContextVar

REPLAY: ContextVar[str | None] = ContextVar("vhostlab_replay", default=None)
"""The command that repeats what is being done now; a scenario runner sets it."""


def replay_command() -> str:
    """The command that repeats the current run: what was set, else this process's own argv."""
    return REPLAY.get() or shlex.join([sys.executable, *sys.argv])


class HarnessError(Exception):
    """Something went wrong; ``hint`` says what to do, where the harness knows."""

    exit_status = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class Unavailable(HarnessError):
    """This machine lacks something that the work needs; nothing is broken."""

    exit_status = 2


class MilestoneTimeout(HarnessError):
    """A named milestone did not come within its deadline, or can no longer come.

    Whoever knows more about the wait adds the ends of the console and of the target's log on the
    error's way up (``add_evidence``).
    """

    def __init__(
        self,
        milestone: str,
        deadline_s: float,
        *,
        reason: str = "",
        console_tail: str = "",
        target_log_tail: str = "",
        replay: str = "",
    ) -> None:
        self.milestone = milestone
        self.deadline_s = deadline_s
        self.reason = reason
        self.console_tail = console_tail
        self.target_log_tail = target_log_tail
        self.replay = replay or replay_command()
        super().__init__(reason or f"not reached within {deadline_s:g} s: {milestone}")

    def add_evidence(self, *, console_tail: str = "", target_log_tail: str = "") -> None:
        """Keep what is known already; fill in what is not."""
        self.console_tail = self.console_tail or console_tail
        self.target_log_tail = self.target_log_tail or target_log_tail

    def __str__(self) -> str:
        lines = [self.message, f"  milestone: {self.milestone} (deadline {self.deadline_s:g} s)"]
        for title, text in (
            ("end of the guest console", self.console_tail),
            ("end of the target's log", self.target_log_tail),
        ):
            if text.strip():
                lines.append(f"  {title}:")
                lines += [f"    | {line}" for line in text.rstrip().splitlines()]
        lines.append(f"  to repeat: {self.replay}")
        return "\n".join(lines)
