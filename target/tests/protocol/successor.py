#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A successor of the daemon that fails as it is told to: $FAIL_AT, a step of STEPS, and $FAIL_HOW.

It speaks the parcels of target/lib/api/handover.h and looks at nothing that is in them.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import sys

HEADER = struct.Struct("<II")
START, READY, CONFIG, PREPARED, SESSIONS, RESTORED, GO, SERVING, CANNOT = range(1, 10)
STEPS = ("nothing", "start", "ready", "config", "prepared", "sessions", "restored", "go")
ROOM = 1 << 16
FDS = 253


def say(peer: socket.socket, kind: int, payload: bytes = b"") -> None:
    peer.send(HEADER.pack(kind, 0) + payload)


def hear(peer: socket.socket, wanted: int) -> None:
    """One parcel; its descriptors are closed, as they will be when this process ends."""
    more = 1
    while more:
        data, fds, _, _ = socket.recv_fds(peer, ROOM, FDS)
        if not data:
            sys.exit(3)
        kind, more = HEADER.unpack_from(data)
        if kind != wanted:
            sys.exit(4)
        for fd in fds:
            os.close(fd)


def fail(peer: socket.socket, how: str) -> None:
    if how == "exit":
        os._exit(5)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "say":
        text = b"this one has no wish to"
        say(peer, CANNOT, struct.pack("<I", len(text)) + text + b"\0")
    if how == "nonsense":
        say(peer, 77)
    # "hang", and what follows the word: somebody has to end it.
    signal.pause()


def main() -> None:
    peer = socket.socket(fileno=int(os.environ["VHOST_HANDOVER_FD"]))
    actions = {
        "nothing": lambda: None,
        "start": lambda: hear(peer, START),
        "ready": lambda: say(peer, READY),
        "config": lambda: hear(peer, CONFIG),
        "prepared": lambda: say(peer, PREPARED),
        "sessions": lambda: hear(peer, SESSIONS),
        "restored": lambda: say(peer, RESTORED),
        "go": lambda: hear(peer, GO),
    }
    for step in STEPS:
        actions[step]()
        if step == os.environ["FAIL_AT"]:
            fail(peer, os.environ["FAIL_HOW"])


if __name__ == "__main__":
    main()
