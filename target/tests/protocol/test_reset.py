# SPDX-License-Identifier: BSD-3-Clause
"""The driver resets its device: RESET_DEVICE, the device status, one ring alone."""

from __future__ import annotations

import socket

import pytest

from . import wire
from .daemon import Daemon
from .frontend import Blk, FrontEnd
from .memory import GuestMemory, SplitRing
from .test_rings import BREAKERS
from .wire import HEADER, Message, Request, state, u64

PATTERN = bytes(range(256)) * 16
ALL_OK = 15
NEEDS_RESET = 64


def fresh(memory: GuestMemory, index: int, size: int = 64) -> SplitRing:
    """A ring at other places than those before it."""
    return SplitRing(memory, index, size)


def test_the_guest_boots_again(front: FrontEnd, memory: GuestMemory) -> None:
    """Memory, protocol features and the call eventfd stay; everything else is said again."""
    front.negotiate()
    front.add(memory)
    for size in (64, 16, 128):
        ring = fresh(memory, 0, size)
        front.start([ring])
        disk = Blk(ring, 4096)
        assert disk.write(0, PATTERN) == 0
        assert front.acknowledged(Message(Request.RESET_DEVICE)) == 0
        ring.close()
        front.send(u64(Request.SET_FEATURES, front.features))
    assert front.stop(0) == 0


def test_a_stopped_ring_stays_as_it_is(ready: FrontEnd, memory: GuestMemory) -> None:
    ring = fresh(memory, 0)
    ready.start([ring])
    disk = Blk(ring)
    assert disk.write(0, PATTERN) == 0
    assert ready.acknowledged(Message(Request.RESET_DEVICE)) == 0
    ring.forget_calls()
    disk.submit(1, 1, 512, True)
    assert ready.alive() and ring.used_count() == 0
    # It is disabled as well, and bit 30 must be negotiated again to enable it.
    assert ready.acknowledged(state(Request.SET_VRING_ENABLE, 0, 1)) != 0
    ring.close()


def test_scsi(daemon: Daemon, memory: GuestMemory) -> None:
    """As QEMU: while nothing runs, without an acknowledgement; sizes have their initial values."""
    with FrontEnd(daemon.socket("scsi.0")) as front:
        front.negotiate()
        assert front.acknowledged(wire.set_config(20, (18).to_bytes(4, "little"))) == 0
        assert front.ask(wire.get_config(20, 4))[12:] == (18).to_bytes(4, "little")
        front.send(Message(Request.RESET_DEVICE))
        assert front.ask(wire.get_config(20, 4))[12:] == (96).to_bytes(4, "little")


def test_status(ready: FrontEnd, memory: GuestMemory) -> None:
    assert ready.ask_u64(Request.GET_STATUS) == 0
    assert ready.acknowledged(u64(Request.SET_STATUS, ALL_OK)) == 0
    assert ready.ask_u64(Request.GET_STATUS) == ALL_OK
    assert ready.acknowledged(u64(Request.SET_STATUS, 256)) != 0
    ring = fresh(memory, 0)
    ready.start([ring])
    disk = Blk(ring)
    assert disk.write(0, PATTERN) == 0
    assert ready.acknowledged(u64(Request.SET_STATUS, 0)) == 0
    # Stopped, not forgotten: a new kick is enough.
    ready.send(u64(Request.SET_VRING_KICK, 0, ring.kick_fd))
    assert disk.read(0, 4096) == PATTERN
    ring.close()


@pytest.mark.parametrize("breaker", BREAKERS[:2], ids=lambda fn: fn.__name__)
def test_a_broken_ring_needs_a_reset(ready: FrontEnd, memory: GuestMemory, breaker: object) -> None:
    assert callable(breaker)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        message = Message(Request.SET_BACKEND_REQ_FD, b"", (theirs.fileno(),))
        assert ready.acknowledged(message) == 0
        assert ready.acknowledged(u64(Request.SET_STATUS, ALL_OK)) == 0
        ring = fresh(memory, 0)
        ready.start([ring])
        breaker(ring)
        ring.wait_error()
        ours.settimeout(10)
        told = HEADER.unpack(ours.recv(HEADER.size))
        assert told == (wire.BACKEND_CONFIG_CHANGE_MSG, wire.VERSION, 0)
        assert ready.ask_u64(Request.GET_STATUS) == ALL_OK | NEEDS_RESET
        assert ready.acknowledged(u64(Request.SET_STATUS, 0)) == 0
        assert ready.ask_u64(Request.GET_STATUS) == 0
        ring.close()


def test_one_ring_is_reset_alone(ready: FrontEnd, memory: GuestMemory) -> None:
    """What VIRTIO_F_RING_RESET comes to: one ring is stopped and started anew, elsewhere."""
    other = fresh(memory, 1)
    ready.start([other])
    disk = Blk(other, 4096)
    for size in (64, 8, 32):
        ring = fresh(memory, 0, size)
        ready.start([ring])
        assert Blk(ring, 4096).write(0, PATTERN) == 0
        assert disk.write(64, PATTERN) == 0
        assert ready.stop(0) == 1
        assert disk.read(64, 4096) == PATTERN
        ring.close()
    other.close()
