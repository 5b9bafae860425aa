# SPDX-License-Identifier: BSD-3-Clause
"""A program that takes SPDK's JSON-RPC calls as SPDK documents them, and serves no request.

    fake_spdk.py -S DIRECTORY -r SOCKET -m MASK -s MIB [--no-huge] | --version

Every call is checked against ``spdk_rpc.json``: method -> parameter -> type, with ! if it must be
there. These are facts of SPDK's published schema of May 2026; the rest of that is not needed here.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path
from typing import Any

SCHEMA: dict[str, dict[str, str]] = json.loads(
    (Path(__file__).parent / "spdk_rpc.json").read_text()
)
VERSION = "SPDK v26.05 git sha1 0123456"

#: JSON-RPC's codes.
UNKNOWN_METHOD, BAD_PARAMS = -32601, -32602

_RANGES = {"int32": (-(1 << 31), 1 << 31), "uint32": (0, 1 << 32), "uint64": (0, 1 << 64)}


class Refused(Exception):
    """An answer with an error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def check(method: str, params: dict[str, Any]) -> None:
    """Raise for a call that SPDK would not take."""
    if method not in SCHEMA:
        raise Refused(UNKNOWN_METHOD, "Method not found")
    known = SCHEMA[method]
    if unknown := set(params) - set(known):
        raise Refused(BAD_PARAMS, f"unknown parameter {', '.join(sorted(unknown))}")
    for name, kind in known.items():
        if name not in params:
            if kind.endswith("!"):
                raise Refused(BAD_PARAMS, f"parameter {name} is missing")
        elif not _fits(params[name], kind.rstrip("!")):
            raise Refused(BAD_PARAMS, f"parameter {name} is no {kind}")


def _fits(value: Any, kind: str) -> bool:
    if kind in _RANGES:
        low, high = _RANGES[kind]
        return type(value) is int and low <= value < high
    return type(value) is {"string": str, "boolean": bool}[kind]


class Fake:
    """What there is."""

    def __init__(self, sockets: Path) -> None:
        self._sockets = sockets
        self._bdevs: dict[str, dict[str, Any]] = {}
        self._controllers: dict[str, dict[str, Any]] = {}
        self._servers: dict[str, asyncio.Server] = {}
        self.calls: list[tuple[str, dict[str, Any]]] = []

    async def call(self, method: str, params: dict[str, Any]) -> Any:
        check(method, params)
        self.calls.append((method, params))
        if method.startswith("bdev_") and method.endswith("_create"):
            return self._create_bdev(params)
        if method.startswith("bdev_") and method.endswith("_delete"):
            return self._delete_bdev(params["name"])
        return await getattr(self, method)(**params)

    def _create_bdev(self, params: dict[str, Any]) -> str:
        name = str(params["name"])
        if name in self._bdevs:
            raise Refused(-17, "File exists")
        if "filename" in params and not Path(params["filename"]).exists():
            raise Refused(-2, "No such file or directory")
        self._bdevs[name] = params
        return name

    def _delete_bdev(self, name: str) -> bool:
        if name not in self._bdevs:
            raise Refused(-19, "No such device")
        del self._bdevs[name]
        return True

    async def _listen(self, ctrlr: str, **facts: Any) -> bool:
        if ctrlr in self._controllers:
            raise Refused(-17, "File exists")
        path = self._sockets / ctrlr
        self._servers[ctrlr] = await asyncio.start_unix_server(lambda r, w: w.close(), path)
        self._controllers[ctrlr] = {"ctrlr": ctrlr, "socket": str(path), "targets": {}, **facts}
        return True

    def _controller(self, ctrlr: str) -> dict[str, Any]:
        if ctrlr not in self._controllers:
            raise Refused(-19, "No such device")
        return self._controllers[ctrlr]

    def _bdev(self, name: str) -> None:
        if name not in self._bdevs:
            raise Refused(-19, "No such device")

    async def vhost_create_blk_controller(self, ctrlr: str, dev_name: str, **more: Any) -> bool:
        self._bdev(dev_name)
        return await self._listen(ctrlr, bdev=dev_name, **more)

    async def vhost_create_scsi_controller(self, ctrlr: str) -> bool:
        return await self._listen(ctrlr)

    async def vhost_scsi_controller_add_target(
        self, ctrlr: str, scsi_target_num: int, bdev_name: str
    ) -> int:
        self._bdev(bdev_name)
        if scsi_target_num > 7:
            raise Refused(-22, "Invalid argument")
        self._controller(ctrlr)["targets"][scsi_target_num] = bdev_name
        return scsi_target_num

    async def vhost_scsi_controller_remove_target(self, ctrlr: str, scsi_target_num: int) -> bool:
        if self._controller(ctrlr)["targets"].pop(scsi_target_num, None) is None:
            raise Refused(-19, "No such device")
        return True

    async def vhost_delete_controller(self, ctrlr: str) -> bool:
        if self._controller(ctrlr)["targets"]:
            raise Refused(-16, "Device or resource busy")
        del self._controllers[ctrlr]
        self._servers.pop(ctrlr).close()
        (self._sockets / ctrlr).unlink(missing_ok=True)
        return True

    async def vhost_get_controllers(self, name: str = "") -> list[dict[str, Any]]:
        if name and name not in self._controllers:
            raise Refused(-19, "No such device")
        return [c for n, c in self._controllers.items() if name in ("", n)]

    async def bdev_get_iostat(self) -> dict[str, Any]:
        counted = {"num_read_ops": 3, "num_write_ops": 2, "num_unmap_ops": 1}
        sizes = {"bytes_read": 3 * 4096, "bytes_written": 2 * 4096}
        bdevs = [{"name": name, **counted, **sizes} for name in self._bdevs]
        return {"tick_rate": 1000, "ticks": 1, "bdevs": bdevs}

    async def thread_get_stats(self) -> dict[str, Any]:
        return {"tick_rate": 1000, "threads": [{"id": 1, "name": "app", "busy": 1, "idle": 2}]}

    async def framework_get_reactors(self) -> dict[str, Any]:
        return {"tick_rate": 1000, "reactors": [{"lcore": 0, "busy": 1, "idle": 2}]}

    async def framework_wait_init(self) -> bool:
        return True

    async def spdk_get_version(self) -> dict[str, Any]:
        return {"version": VERSION, "fields": {"major": 26, "minor": 5}}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        text = ""
        while data := await reader.read(65536):
            text += data.decode()
            try:
                request, end = json.JSONDecoder().raw_decode(text)
            except json.JSONDecodeError:
                continue
            text = text[end:]
            answer: dict[str, Any] = {"jsonrpc": "2.0", "id": request["id"]}
            try:
                answer["result"] = await self.call(request["method"], request.get("params", {}))
            except Refused as error:
                answer["error"] = {"code": error.code, "message": str(error)}
            writer.write(json.dumps(answer).encode())
            await writer.drain()
        writer.close()


async def run(options: argparse.Namespace) -> None:
    fake = Fake(options.S)
    server = await asyncio.start_unix_server(fake.serve, options.r)
    async with server:
        await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("-S", "-r"):
        parser.add_argument(name, type=Path)
    parser.add_argument("-m")
    parser.add_argument("-s", type=int)
    parser.add_argument("--no-huge", action="store_true")
    parser.add_argument("--version", action="store_true")
    options = parser.parse_args()
    if options.version:
        print(VERSION)
        return
    asyncio.run(run(options))


if __name__ == "__main__":
    main()
