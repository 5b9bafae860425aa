# SPDX-License-Identifier: BSD-3-Clause
"""Client of the QEMU guest agent over one end of a socket pair.

The agent answers requests in order, one JSON line each. After a request was given up its answer
may still come, so the client then synchronises before it asks again.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
from collections.abc import Mapping
from typing import Any

from vhostlab.errors import HarnessError

LINE_MAX = 128 * 1024 * 1024
"""A captured output or a file chunk comes as one line."""

ANSWER_TIMEOUT_S = 20.0


class AgentError(HarnessError):
    """The guest agent refused a request."""


class Agent:
    """Requests to one guest agent; safe to use from several tasks."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._lock = asyncio.Lock()
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._in_step = False
        self._numbers = itertools.count(1)

    async def execute(
        self,
        command: str,
        arguments: Mapping[str, object] | None = None,
        timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> Any:
        """Return the answer's value. TimeoutError: none came; ConnectionError: QEMU is gone."""
        request: dict[str, object] = {"execute": command}
        if arguments:
            request["arguments"] = dict(arguments)
        async with self._lock, asyncio.timeout(timeout_s):
            if not self._in_step:
                await self._synchronise()
            self._in_step = False
            answer = await self._exchange(request)
            self._in_step = True
        return self._value(command, answer)

    async def synchronise(self, timeout_s: float) -> None:
        """Return when the agent answers. TimeoutError when it does not."""
        async with self._lock, asyncio.timeout(timeout_s):
            await self._synchronise()

    async def close(self) -> None:
        """Give the channel back."""
        if self._writer is None:
            self._sock.close()
            return
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except ConnectionError:
            return

    async def _synchronise(self) -> None:
        number = next(self._numbers)
        answer = await self._exchange({"execute": "guest-sync", "arguments": {"id": number}})
        # Answers to requests that were given up come first.
        while answer.get("return") != number:
            answer = await self._receive()
        self._in_step = True

    async def _exchange(self, request: dict[str, object]) -> dict[str, Any]:
        if self._writer is None:
            self._sock.setblocking(False)
            self._reader, self._writer = await asyncio.open_connection(
                sock=self._sock, limit=LINE_MAX
            )
        self._writer.write(json.dumps(request).encode() + b"\n")
        await self._writer.drain()
        return await self._receive()

    async def _receive(self) -> dict[str, Any]:
        assert self._reader is not None
        line = await self._reader.readline()
        if not line:
            raise ConnectionResetError("the guest agent's channel was closed")
        try:
            answer = json.loads(line)
        except ValueError:
            # Rests of an answer that a dying agent left in the channel.
            return {}
        return answer if isinstance(answer, dict) else {}

    def _value(self, command: str, answer: dict[str, Any]) -> Any:
        if "error" in answer:
            words = answer["error"].get("desc", answer["error"])
            raise AgentError(f"the guest agent refused {command}: {words}")
        if "return" not in answer:
            raise AgentError(f"the guest agent gave no proper answer to {command}")
        return answer["return"]
