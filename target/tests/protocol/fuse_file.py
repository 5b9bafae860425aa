# SPDX-License-Identifier: BSD-3-Clause
"""A file whose server stops answering: the one file of a FUSE file system.

`python fuse_file.py PLACE` mounts it, says "ready", and answers the kernel. For each line with the
number of an operation on its standard input it says "held" and does not answer that operation any
more; for the same number with a minus it answers all of them again, says "released". It ends with
its input.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

GETATTR, READ, FLUSH = 3, 15, 25
_LOOKUP, _FORGET, _OPEN, _WRITE, _STATFS, _RELEASE, _INIT, _OPENDIR = 1, 2, 14, 16, 17, 18, 26, 27
_INTERRUPT, _BATCH_FORGET = 36, 42
_HEADER = struct.Struct("<IIQQIIII")
_MNT_DETACH = 2
_FILE, _SIZE = 2, 1 << 21
_ENOSYS = 38
_FLAGS = 1 | 1 << 15  # FUSE_ASYNC_READ, FUSE_ASYNC_DIO: nobody waits in io_submit(2)


class _Server:
    def __init__(self, place: str) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._place = place.encode()
        self._fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={self._fd},rootmode=40000,user_id=0,group_id=0".encode()
        if self._libc.mount(b"test", self._place, b"fuse", 0, options) != 0:
            raise OSError(ctypes.get_errno(), "mount")
        self._held: set[int] = set()
        self._waiting: list[tuple[int, int, int, bytes]] = []

    def end(self) -> None:
        self._libc.umount2(self._place, _MNT_DETACH)
        os.close(self._fd)

    def serve(self) -> None:
        while True:
            try:
                request = os.read(self._fd, 1 << 20)
            except OSError:
                return
            _, operation, unique, node, *_ = _HEADER.unpack_from(request)
            if operation in (_FORGET, _BATCH_FORGET, _INTERRUPT):
                continue
            one = (operation, unique, node, request[_HEADER.size :])
            if operation in self._held:
                self._waiting.append(one)
            else:
                self._answer(*one)

    def obey(self, number: int) -> str:
        if number > 0:
            self._held.add(number)
            return "held"
        self._held.discard(-number)
        for one in [one for one in self._waiting if one[0] == -number]:
            self._waiting.remove(one)
            self._answer(*one)
        return "released"

    def _attributes(self, node: int) -> bytes:
        mode = stat.S_IFREG | 0o600 if node == _FILE else stat.S_IFDIR | 0o700
        size = _SIZE if node == _FILE else 0
        return struct.pack("<6Q10I", node, size, size // 512, *[0] * 6, mode, 1, 0, 0, 0, 4096, 0)

    def _answer(self, operation: int, unique: int, node: int, body: bytes) -> None:
        data = b""
        error = 0
        if operation == _INIT:
            data = struct.pack("<IIIIHHIIHHI7I", 7, 31, 65536, _FLAGS, 12, 9, 1 << 17, 1, *[0] * 10)
        elif operation == _LOOKUP:
            data = struct.pack("<4QII", _FILE, *[0] * 5) + self._attributes(_FILE)
        elif operation == GETATTR:
            data = struct.pack("<QII", 0, 0, 0) + self._attributes(node)
        elif operation in (_OPEN, _OPENDIR):
            data = struct.pack("<QII", 1, 0, 0)
        elif operation == READ:
            data = bytes(struct.unpack_from("<QQI", body)[2])
        elif operation == _WRITE:
            data = struct.pack("<II", struct.unpack_from("<QQI", body)[2], 0)
        elif operation == _STATFS:
            data = struct.pack("<5Q4I", *[0] * 5, 4096, 255, 4096, 0) + bytes(24)
        elif operation not in (_RELEASE, FLUSH):
            error = _ENOSYS
        with contextlib.suppress(OSError):
            os.write(self._fd, struct.pack("<IiQ", 16 + len(data), -error, unique) + data)


class FuseFile:
    """The test's side: the open file, and what its server is told."""

    def __init__(self, path: Path, server: subprocess.Popen[str]) -> None:
        self.path = path
        self._server = server

    def _tell(self, number: int) -> str:
        assert self._server.stdin is not None and self._server.stdout is not None
        print(number, file=self._server.stdin, flush=True)
        return self._server.stdout.readline()

    def hold(self, operation: int) -> None:
        assert self._tell(operation) == "held\n"

    def release(self, operation: int) -> None:
        assert self._tell(-operation) == "released\n"


@contextlib.contextmanager
def fuse_file(directory: Path) -> Iterator[FuseFile]:
    """Skips the test where it cannot be."""
    place = directory / "fuse"
    place.mkdir()
    server = subprocess.Popen(
        [sys.executable, __file__, str(place)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert server.stdin is not None and server.stdout is not None and server.stderr is not None
    try:
        if server.stdout.readline() != "ready\n":
            reason = server.stderr.read().strip().splitlines()[-1:]
            pytest.skip(f"a FUSE file system cannot be mounted here: {''.join(reason)}")
        yield FuseFile(place / "file", server)
    finally:
        server.stdin.close()
        server.wait()
        server.stdout.close()
        server.stderr.close()


def _main() -> None:
    server = _Server(sys.argv[1])
    threading.Thread(target=server.serve, daemon=True).start()
    print("ready", flush=True)
    for line in sys.stdin:
        print(server.obey(int(line)), flush=True)
    server.end()


if __name__ == "__main__":
    _main()
