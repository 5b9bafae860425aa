# SPDX-License-Identifier: BSD-3-Clause
"""What a comparison is asked to be."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

PATHS = ("frontend", "guest")

BLOCKS = {"frontend": 16, "guest": 10}
#: For one of many short runs.
SHORT_BLOCKS = 10
SHORT_RUN_S = 120.0
BUDGET_MIN = {"frontend": 8.0, "guest": 9.0}


@dataclass(frozen=True)
class Request:
    """What is asked for. Empty or zero: what suits."""

    base: str = ""
    head: str = ""
    base_binary: Path | None = None
    head_binary: Path | None = None
    base_options: tuple[str, ...] = ()
    head_options: tuple[str, ...] = ()
    path: str = "frontend"
    matrix: str = ""
    cells: tuple[str, ...] = ()
    blocks: int = 0
    budget_min: float = 0.0
    turn_s: float = 0.0
    aa: bool = False
    runs: int = 1
    gates: Path | None = None

    def command(self) -> str:
        """The command line that asks for the same."""
        words = ["vhostlab", "ab", *(["--aa"] if self.aa else [])]
        words += [r for r in (self.base, "" if self.aa else self.head) if r]
        for name, value in (
            ("base-binary", self.base_binary),
            ("head-binary", None if self.aa else self.head_binary),
            ("base-options", " ".join(self.base_options)),
            ("head-options", "" if self.aa else " ".join(self.head_options)),
            ("path", "" if self.path == "frontend" else self.path),
            ("matrix", self.matrix),
            ("blocks", self.blocks),
            ("budget", f"{self.budget_min:g}" if self.budget_min else ""),
            ("turn", f"{self.turn_s:g}" if self.turn_s else ""),
            ("runs", self.runs if self.aa and self.runs > 1 else ""),
            ("gates", self.gates),
        ):
            words += [f"--{name}={value}"] if value else []
        return shlex.join(words + [f"--cells={cell}" for cell in self.cells])

    @property
    def budget_s(self) -> float:
        """Of all runs together."""
        return (self.budget_min or BUDGET_MIN[self.path] * self.runs) * 60

    @property
    def short(self) -> bool:
        return self.budget_s / self.runs < SHORT_RUN_S

    @property
    def planned(self) -> int:
        return self.blocks or (SHORT_BLOCKS if self.short else BLOCKS[self.path])
