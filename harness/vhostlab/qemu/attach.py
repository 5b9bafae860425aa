# SPDX-License-Identifier: BSD-3-Clause
"""Connect this terminal to the console of a guest: ``python3 -m vhostlab.qemu.attach SOCKET``."""

from __future__ import annotations

import os
import select
import socket
import sys
import termios
import tty
from pathlib import Path

from vhostlab.errors import HarnessError

ESCAPE = 0x1D
"""Ctrl-], which ends the connection and leaves the guest alone."""


def attach(path: Path) -> None:
    """Pass bytes both ways until Ctrl-] or until the guest is gone."""
    with socket.socket(socket.AF_UNIX) as guest:
        try:
            guest.connect(str(path))
        except OSError as error:
            raise HarnessError(f"no console at {path}: {error.strerror}") from error
        print(f"connected to {path}; Ctrl-] leaves, Enter gets a prompt", file=sys.stderr)
        saved = termios.tcgetattr(0) if os.isatty(0) else None
        try:
            if saved is not None:
                tty.setraw(0)
            _relay(guest)
        finally:
            if saved is not None:
                termios.tcsetattr(0, termios.TCSADRAIN, saved)


def _relay(guest: socket.socket) -> None:
    while True:
        ready, _, _ = select.select([0, guest.fileno()], [], [])
        if guest.fileno() in ready:
            data = guest.recv(4096)
            if not data:
                return
            os.write(1, data)
        if 0 in ready:
            typed = os.read(0, 4096)
            if not typed or ESCAPE in typed:
                return
            guest.sendall(typed)


def main() -> None:
    if len(sys.argv) != 2:
        raise SystemExit("usage: python3 -m vhostlab.qemu.attach SOCKET")
    try:
        attach(Path(sys.argv[1]))
    except HarnessError as error:
        raise SystemExit(f"vhostlab: {error}") from error


if __name__ == "__main__":
    main()
