# SPDX-License-Identifier: BSD-3-Clause
"""JSON-RPC 2.0 over an AF_UNIX stream: objects one after the other, nothing between them."""

from __future__ import annotations

import asyncio
import codecs
import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vhostlab.errors import HarnessError

ANSWER_MAX = 64 * 1024 * 1024
"""A longer answer is an error, not a reason to fill the memory."""


class RpcError(HarnessError):
    """The other side answered with an error."""

    def __init__(self, method: str, code: int, message: str) -> None:
        self.method = method
        self.code = code
        super().__init__(f"RPC {method}: {message} (code {code})")


class ObjectStream:
    """Cuts a byte stream into JSON objects, wherever its pieces begin and end."""

    def __init__(self) -> None:
        self._decoder = json.JSONDecoder()
        self._bytes = codecs.getincrementaldecoder("utf-8")()
        self._text = ""

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """The objects that ``data`` completes."""
        self._text += self._bytes.decode(data)
        found: list[dict[str, Any]] = []
        while True:
            self._text = self._text.lstrip()
            try:
                value, end = self._decoder.raw_decode(self._text)
            except json.JSONDecodeError as error:
                self._check(error)
                return found
            if not isinstance(value, dict):
                raise HarnessError(f"RPC answer is no JSON object: {self._text[:80]!r}")
            found.append(value)
            self._text = self._text[end:]

    def _check(self, error: json.JSONDecodeError) -> None:
        """An incomplete object is waited for; anything that is not one is not."""
        if self._text and not self._text.startswith("{"):
            raise HarnessError(f"RPC answer is not JSON: {self._text[:80]!r}") from error
        if len(self._text) > ANSWER_MAX:
            raise HarnessError(f"RPC answer is longer than {ANSWER_MAX} bytes") from error


class RpcClient:
    """Calls to one server. Each has a connection of its own, so a restart needs no care."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._numbers = itertools.count(1)

    async def call(
        self, method: str, params: Mapping[str, object] | None = None, timeout_s: float = 10.0
    ) -> Any:
        """Call a method; return its result. RpcError when the server refuses."""
        number = next(self._numbers)
        request: dict[str, object] = {"jsonrpc": "2.0", "id": number, "method": method}
        if params:
            request["params"] = dict(params)
        try:
            async with asyncio.timeout(timeout_s):
                answer = await self._exchange(json.dumps(request).encode(), number)
        except TimeoutError:
            raise HarnessError(f"RPC {method}: no answer within {timeout_s:g} s") from None
        except OSError as error:
            raise HarnessError(f"RPC {method}: {self.path}: {error.strerror or error}") from error
        if "error" in answer:
            error_part = answer["error"]
            raise RpcError(method, int(error_part["code"]), str(error_part["message"]))
        return answer.get("result")

    async def _exchange(self, request: bytes, number: int) -> dict[str, Any]:
        reader, writer = await asyncio.open_unix_connection(self.path)
        try:
            writer.write(request)
            await writer.drain()
            stream = ObjectStream()
            while data := await reader.read(65536):
                for answer in stream.feed(data):
                    # An error in the request itself is answered with a null id.
                    if answer.get("id") in (number, None):
                        return answer
            raise HarnessError(f"{self.path}: the connection was closed without an answer")
        finally:
            writer.close()
