# SPDX-License-Identifier: BSD-3-Clause
"""The serial console of a guest: QEMU writes it to a file, this reads the file as it grows.

The file is complete whether or not anybody looks, and a person may be connected at the same time
(``python3 -m vhostlab.qemu.attach SOCKET``).
"""

from __future__ import annotations

import re
import time
from pathlib import Path

from vhostlab.process import tail

MILESTONES: dict[str, re.Pattern[str]] = {
    "firmware": re.compile(
        r"SeaBIOS \(version|UEFI|BdsDxe|Booting from|vhostlab: grub|Linux version"
    ),
    "kernel": re.compile(r"Linux version"),
    "init": re.compile(r"vhostlab: init|^Welcome to (?!GRUB).+!"),
    "modules": re.compile(r"vhostlab: modules"),
    "agent": re.compile(r"vhostlab: agent"),
}
"""The stages of a boot, in order, and what shows each on the console."""

PANIC = re.compile(
    r"Kernel panic - not syncing.*|BUG: unable to handle.*|kernel BUG at .*|Oops: .*|"
    r"general protection fault.*"
)

_ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[a-zA-Z]|[c78=>])|\r")


def plain(text: str) -> str:
    """Console output without terminal control sequences."""
    return _ESCAPES.sub("", text)


class Console:
    """What came out of the serial port so far."""

    def __init__(self, log: Path, socket: Path) -> None:
        self.log = log
        self.socket = socket
        self.reached: dict[str, float] = {}
        """Milestone -> seconds since this object was made."""
        self.panic: str | None = None
        """The line with which the guest's kernel gave up."""
        self._started = time.monotonic()
        self._offset = 0
        self._partial = ""

    def poll(self) -> None:
        """Look at what is new."""
        try:
            with self.log.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return
        if not data:
            return
        self._offset += len(data)
        lines = (self._partial + data.decode(errors="replace")).split("\n")
        # A prompt or a half-written line is looked at now and again when it is whole.
        self._partial = lines[-1]
        for line in lines:
            self._look(plain(line))

    def text(self) -> str:
        """Everything, without control sequences."""
        try:
            return plain(self.log.read_text(errors="replace"))
        except FileNotFoundError:
            return ""

    def tail(self, lines: int = 40) -> str:
        return plain(tail(self.log, lines))

    def _look(self, line: str) -> None:
        for name, pattern in MILESTONES.items():
            if name not in self.reached and pattern.search(line):
                self.reached[name] = time.monotonic() - self._started
        if self.panic is None and (found := PANIC.search(line)):
            self.panic = found.group(0).strip()
