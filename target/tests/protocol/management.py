# SPDX-License-Identifier: BSD-3-Clause
"""Requests to the management socket of the daemon under test."""

from __future__ import annotations

import json
import socket
from typing import Any

from .daemon import Daemon
from .waiting import DEADLINE_S


class Refused(Exception):
    """The daemon's message."""


def call(daemon: Daemon, method: str, **params: Any) -> Any:
    """The result of one method."""
    request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(DEADLINE_S)
        client.connect(str(daemon.socket("vhost-rpc.sock")))
        client.sendall(json.dumps(request).encode())
        client.shutdown(socket.SHUT_WR)
        data = b""
        while more := client.recv(65536):
            data += more
    answer = json.loads(data)
    if "error" in answer:
        raise Refused(answer["error"]["message"])
    return answer["result"]


def controllers(daemon: Daemon) -> list[str]:
    return [c["ctrlr"] for c in call(daemon, "vhost_get_controllers")]
