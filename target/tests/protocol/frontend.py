# SPDX-License-Identifier: BSD-3-Clause
"""A front-end: one connection to a controller, well-behaved unless told otherwise."""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from . import wire
from .connection import connect
from .memory import GuestMemory, Segment, SplitRing
from .waiting import DEADLINE_S
from .wire import HEADER, NEED_REPLY, STATE, U64, Message, Request, state, u64

BLK_T_IN = 0
BLK_T_OUT = 1
BLK_T_FLUSH = 4
BLK_T_GET_ID = 8
UNTOUCHED = 0xFF
"""What the status byte holds until the device has written it."""


class Disconnected(Exception):
    """The daemon has ended the connection."""


class FrontEnd:
    """Speaks the protocol; every read has a deadline."""

    def __init__(self, path: Path, deadline_s: float = DEADLINE_S) -> None:
        self.socket = connect(path)
        self.socket.settimeout(deadline_s)
        self.features = 0
        self.protocol_features = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def send_bytes(self, data: bytes, fds: tuple[int, ...] = ()) -> None:
        try:
            if fds:
                socket.send_fds(self.socket, [data], list(fds))
            else:
                self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Disconnected from error

    def send(self, *messages: Message) -> None:
        for message in messages:
            self.send_bytes(message.data, message.fds)

    def _recv_exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            try:
                piece = self.socket.recv(size - len(data))
            except ConnectionResetError as error:
                raise Disconnected from error
            if not piece:
                raise Disconnected
            data += piece
        return data

    def reply(self, request: int) -> bytes:
        """The payload of the reply to this request."""
        got, flags, size = HEADER.unpack(self._recv_exactly(HEADER.size))
        assert got == request, f"a reply to {got}, not to {request}"
        assert flags == wire.VERSION | wire.REPLY
        return self._recv_exactly(size)

    def ask(self, message: Message) -> bytes:
        """Sends a request that has a reply of its own."""
        self.send(message)
        return self.reply(message.request)

    def ask_u64(self, request: Request) -> int:
        (value,) = U64.unpack(self.ask(Message(request)))
        return int(value)

    def acknowledged(self, message: Message) -> int:
        """Sends a request and returns its acknowledgement (0: success)."""
        flags = message.flags | NEED_REPLY
        (value,) = U64.unpack(
            self.ask(Message(message.request, message.payload, message.fds, flags))
        )
        return int(value)

    def alive(self) -> bool:
        """Does the daemon still answer on this connection?"""
        try:
            self.ask_u64(Request.GET_FEATURES)
        except Disconnected:
            return False
        return True

    def silent(self, seconds: float = 0.2) -> bool:
        """Nothing has come for that long: neither a reply nor the end."""
        ready, _, _ = select.select([self.socket], [], [], seconds)
        return not ready

    def ended(self) -> bool:
        """Waits for the end of the connection; False: there is something to read instead."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    # -- a whole session --

    def negotiate(self, without: int = wire.F_RING_EVENT_IDX, protocol: int | None = None) -> None:
        """Features and protocol features; all but `without`. Rings are split here, logs come later."""
        offered = self.ask_u64(Request.GET_FEATURES)
        assert offered & wire.F_PROTOCOL_FEATURES
        self.protocol_features = self.ask_u64(Request.GET_PROTOCOL_FEATURES)
        if protocol is not None:
            self.protocol_features &= protocol
        self.send(u64(Request.SET_PROTOCOL_FEATURES, self.protocol_features))
        self.send(Message(Request.SET_OWNER))
        self.features = offered & ~without & ~wire.F_RING_PACKED & ~wire.F_LOG_ALL
        self.send(u64(Request.SET_FEATURES, self.features))

    def share(self, *memories: GuestMemory) -> None:
        """Sends the memory table and waits until it is in force."""
        table = wire.mem_table(tuple(m.region for m in memories), tuple(m.fd for m in memories))
        assert self.acknowledged(table) == 0

    def add(self, memory: GuestMemory) -> None:
        """One region more; it may be used when this returns."""
        assert self.acknowledged(wire.add_region(memory.region, memory.fd)) == 0

    def remove(self, memory: GuestMemory) -> None:
        """One region less; it is no longer in use when this returns."""
        assert self.acknowledged(wire.rem_region(memory.region)) == 0

    def channel(self) -> socket.socket:
        """Gives the daemon a channel for its own requests; returns our end."""
        ours, theirs = socket.socketpair()
        with theirs:
            message = Message(Request.SET_BACKEND_REQ_FD, b"", (theirs.fileno(),))
            assert self.acknowledged(message) == 0
        ours.settimeout(DEADLINE_S)
        return ours

    def capacity(self) -> int:
        """Of a blk disk, in bytes, as its configuration space says."""
        (sectors,) = U64.unpack(self.ask(wire.get_config(0, U64.size))[wire.CONFIG.size :])
        return int(sectors) * 512

    def start(self, rings: Iterable[SplitRing]) -> None:
        for ring in rings:
            self.send(*ring.setup(enable=bool(self.features & wire.F_PROTOCOL_FEATURES)))

    def stop(self, index: int) -> int:
        """GET_VRING_BASE: the ring has stopped when this returns its base."""
        got, base = STATE.unpack(self.ask(state(Request.GET_VRING_BASE, index, 0)))
        assert got == index
        return int(base)


class Blk:
    """Requests of a virtio-blk driver, one at a time."""

    def __init__(self, ring: SplitRing, room: int = 65536) -> None:
        self.ring = ring
        self._header = ring.memory.alloc(16)
        self._status = ring.memory.alloc(1)
        self._data = ring.memory.alloc(room, 512)

    def submit(self, kind: int, sector: int, size: int, to_device: bool) -> None:
        memory = self.ring.memory
        memory.write(self._header, struct.pack("<IIQ", kind, 0, sector))
        memory.write(self._status, bytes([UNTOUCHED]))
        chain = [Segment(memory.gpa(self._header), 16)]
        if size:
            chain.append(Segment(memory.gpa(self._data), size, not to_device))
        chain.append(Segment(memory.gpa(self._status), 1, True))
        self.ring.submit(*chain)

    def finish(self, deadline_s: float = DEADLINE_S) -> int:
        """Waits for the request and returns its status."""
        self.ring.wait_used(deadline_s)
        return self.status()

    def status(self) -> int:
        return self.ring.memory.read(self._status, 1)[0]

    def put(self, data: bytes) -> None:
        """Fills the data buffer."""
        self.ring.memory.write(self._data, data)

    def write(self, sector: int, data: bytes) -> int:
        self.put(data)
        self.submit(BLK_T_OUT, sector, len(data), True)
        return self.finish()

    def read(self, sector: int, size: int) -> bytes:
        self.put(bytes(size))
        self.submit(BLK_T_IN, sector, size, False)
        status = self.finish()
        assert status == 0, f"read at sector {sector}: status {status}"
        return self.ring.memory.read(self._data, size)

    def flush(self) -> int:
        self.submit(BLK_T_FLUSH, 0, 0, True)
        return self.finish()


class Elsewhere:
    """A disk whose ring lies in one region, and the data of its requests in another."""

    def __init__(self, ring: SplitRing) -> None:
        self.ring = ring
        self.header = ring.memory.alloc(16)
        self.status = ring.memory.alloc(1)

    def submit(self, kind: int, sector: int, data: list[Segment]) -> None:
        memory = self.ring.memory
        memory.write(self.header, struct.pack("<IIQ", kind, 0, sector))
        memory.write(self.status, bytes([UNTOUCHED]))
        self.ring.submit(
            Segment(memory.gpa(self.header), 16), *data, Segment(memory.gpa(self.status), 1, True)
        )

    def finish(self) -> None:
        self.ring.wait_used()
        assert self.ring.memory.read(self.status, 1)[0] == 0

    def write(self, sector: int, data: list[Segment]) -> None:
        self.submit(BLK_T_OUT, sector, data)
        self.finish()

    def read(self, sector: int, data: list[Segment]) -> None:
        self.submit(BLK_T_IN, sector, [Segment(s.gpa, s.size, True) for s in data])
        self.finish()
