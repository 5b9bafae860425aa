# SPDX-License-Identifier: BSD-3-Clause
"""/proc and /sys, or a copy of them in a directory, so that what looks at a host can be tested."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_CHOSEN = re.compile(r"\[([^]]*)\]")


@dataclass(frozen=True)
class Root:
    """Where ``proc`` and ``sys`` are. Paths are relative to it: "proc/meminfo"."""

    path: Path = Path("/")

    def read(self, name: str) -> str:
        """What is in a file, without space around it; "" where there is none to be read."""
        try:
            return (self.path / name).read_text(errors="replace").strip()
        except OSError:
            return ""

    def number(self, name: str) -> int | None:
        """A file with a number in it; None where there is no such file."""
        text = self.read(name)
        return int(text) if re.fullmatch(r"-?\d+", text) else None

    def chosen(self, name: str) -> str:
        """The word in brackets of "always [madvise] never"; all of it where there are none."""
        text = self.read(name)
        found = _CHOSEN.search(text)
        return found.group(1) if found else text

    def names(self, pattern: str) -> list[str]:
        """The paths that fit, sorted as people sort them: cpu2 before cpu10."""
        found = [str(path.relative_to(self.path)) for path in self.path.glob(pattern)]
        return sorted(found, key=lambda n: [int(w) if w.isdigit() else 0 for w in _words(n)])

    def write(self, name: str, text: str) -> None:
        """Change a setting of the kernel; raises OSError."""
        (self.path / name).write_text(text)


def _words(name: str) -> list[str]:
    return re.split(r"(\d+)", name)
