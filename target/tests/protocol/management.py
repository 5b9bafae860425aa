# SPDX-License-Identifier: BSD-3-Clause
"""Requests to the management socket of the daemon under test."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from typing import Any, BinaryIO

from .daemon import Daemon
from .waiting import DEADLINE_S


class Refused(Exception):
    """The daemon's message."""


class Connection:
    """One that stays open from call to call."""

    def __init__(self, client: socket.socket, answers: BinaryIO) -> None:
        self._client = client
        self._answers = answers

    def send(self, data: bytes) -> None:
        self._client.sendall(data)

    def receive(self) -> dict[str, Any]:
        """The next answer."""
        return dict(json.loads(self._answers.readline()))

    def call(self, method: str, params: dict[str, Any]) -> Any:
        """The result of one method."""
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        self.send(json.dumps(request).encode())
        answer = self.receive()
        if "error" in answer:
            raise Refused(answer["error"]["message"])
        return answer["result"]


@contextlib.contextmanager
def open_connection(daemon: Daemon) -> Iterator[Connection]:
    with socket.socket(socket.AF_UNIX) as client, client.makefile("rb") as answers:
        client.settimeout(DEADLINE_S)
        client.connect(str(daemon.socket("vhost-rpc.sock")))
        yield Connection(client, answers)


def call(daemon: Daemon, method: str, **params: Any) -> Any:
    """The result of one method."""
    with open_connection(daemon) as connection:
        return connection.call(method, params)


def controllers(daemon: Daemon) -> list[str]:
    return [c["ctrlr"] for c in call(daemon, "vhost_get_controllers")]
