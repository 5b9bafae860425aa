# SPDX-License-Identifier: BSD-3-Clause
"""Controllers that are taken away from their front-ends."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .daemon import Daemon
from .frontend import BLK_T_OUT, UNTOUCHED, Blk, FrontEnd
from .management import Refused, call, controllers
from .memory import GuestMemory, SplitRing
from .waiting import until
from .wire import Message, Request, mem_table

NAME = "mine"


@pytest.fixture
def mine(daemon: Daemon) -> Iterator[FrontEnd]:
    """A connection to a controller of this test's own."""
    call(daemon, "bdev_malloc_create", name="disk", num_blocks=16384, block_size=512)
    call(daemon, "vhost_create_blk_controller", ctrlr=NAME, dev_name="disk")
    with FrontEnd(daemon.socket(NAME)) as front:
        yield front
    if NAME in controllers(daemon):
        call(daemon, "vhost_delete_controller", ctrlr=NAME, force=True)
    until("the controller has gone", lambda: NAME not in controllers(daemon))
    call(daemon, "bdev_delete", name="disk")


def force(daemon: Daemon) -> None:
    assert call(daemon, "vhost_delete_controller", ctrlr=NAME, force=True) is True
    assert not daemon.socket(NAME).exists()
    until("the controller has gone", lambda: NAME not in controllers(daemon))


def test_a_connected_controller_stays(daemon: Daemon, mine: FrontEnd) -> None:
    with pytest.raises(Refused, match="is connected; 'force' ends its connection"):
        call(daemon, "vhost_delete_controller", ctrlr=NAME)
    with pytest.raises(Refused, match="in use"):
        call(daemon, "bdev_delete", name="disk")
    assert mine.alive()


def test_force_ends_the_connection(daemon: Daemon, mine: FrontEnd, bystander: Blk) -> None:
    mine.negotiate()
    force(daemon)
    assert mine.ended()


def test_force_with_requests_under_way(daemon: Daemon, mine: FrontEnd, memory: GuestMemory) -> None:
    """What was finished is published before the connection ends."""
    mine.negotiate()
    mine.share(memory)
    ring = SplitRing(memory, 0)
    mine.start([ring])
    disks = [Blk(ring, 32768) for _ in range(8)]
    for number, disk in enumerate(disks):
        disk.submit(BLK_T_OUT, number * 64, 32768, True)
    force(daemon)
    assert mine.ended()
    assert ring.used_count() == sum(disk.status() != UNTOUCHED for disk in disks)
    # The disk is free, and the name can be used again.
    call(daemon, "vhost_create_blk_controller", ctrlr=NAME, dev_name="disk")
    with FrontEnd(daemon.socket(NAME)) as again:
        assert again.alive()
    ring.close()


def test_force_at_every_moment(daemon: Daemon, memory: GuestMemory) -> None:
    """However far the front-end has come."""
    for count in range(12):
        call(daemon, "vhost_create_blk_controller", ctrlr=NAME, dev_name="Malloc0")
        with FrontEnd(daemon.socket(NAME)) as front:
            front.negotiate()
            ring = SplitRing(memory, 0, size=16)
            messages = [mem_table((memory.region,), (memory.fd,)), *ring.setup()]
            front.send(*(messages * 2)[:count])
            force(daemon)
            assert front.ended()
        ring.close()


@pytest.mark.parametrize("whole", [True, False], ids=["as its channel", "in half a message"])
def test_front_end_that_gives_us_its_own_connection(
    daemon: Daemon, mine: FrontEnd, whole: bool
) -> None:
    """Its end is never seen, since we hold both ends: only force frees the controller."""
    mine.negotiate()
    message = Message(Request.SET_BACKEND_REQ_FD, b"", (mine.socket.fileno(),))
    if whole:
        assert mine.acknowledged(message) == 0
    else:
        mine.send_bytes(message.data[:5], message.fds)
    mine.close()
    with FrontEnd(daemon.socket(NAME)) as next_one:
        assert next_one.ended()
    with pytest.raises(Refused, match="in use"):
        call(daemon, "vhost_delete_controller", ctrlr=NAME)
    force(daemon)
