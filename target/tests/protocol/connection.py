# SPDX-License-Identifier: BSD-3-Clause
"""Connecting to a controller."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

from .waiting import DEADLINE_S


def connect(path: Path) -> socket.socket:
    """Waits for room in the backlog, which a socket with a Python timeout would not do."""
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    limit = struct.pack("@ll", int(DEADLINE_S), 0)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
    try:
        client.connect(str(path))
    except OSError:
        client.close()
        raise
    return client


def listens(path: Path) -> bool:
    """Does a process accept connections there?"""
    try:
        connect(path).close()
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    return True
