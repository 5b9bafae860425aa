# SPDX-License-Identifier: BSD-3-Clause
"""One daemon for all tests; each must leave it as it found it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .daemon import Daemon
from .frontend import Blk, FrontEnd
from .memory import GuestMemory, SplitRing
from .waiting import until


@pytest.fixture(scope="session")
def shared_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("vhost")) as daemon:
        _warm_up(daemon.socket("blk.0"))
        yield daemon


def _warm_up(path: Path) -> None:
    """What the daemon makes once, at the first ring, shall not look like a leak."""
    with FrontEnd(path) as front, GuestMemory() as memory:
        front.negotiate()
        front.share(memory)
        ring = SplitRing(memory, 0)
        front.start([ring])
        assert Blk(ring).flush() == 0
        ring.close()


@pytest.fixture
def daemon(shared_daemon: Daemon) -> Iterator[Daemon]:
    """The daemon; afterwards it lives, no descriptor is left, nothing of a guest is mapped."""
    shared_daemon.assert_alive()
    until("the session before has gone", lambda: shared_daemon.guest_mappings() == 0)
    before = shared_daemon.fds()
    yield shared_daemon
    shared_daemon.assert_alive()
    try:
        # There may be fewer: a connection of before was still being closed.
        until("descriptors are back", lambda: len(shared_daemon.fds()) <= len(before))
    except AssertionError:
        now = shared_daemon.fds()
        extra = {fd: what for fd, what in now.items() if before.get(fd) != what}
        raise AssertionError(f"descriptors were {len(before)}, are {len(now)}: {extra}") from None
    until("guest memory is unmapped", lambda: shared_daemon.guest_mappings() == 0)


@pytest.fixture
def memory() -> Iterator[GuestMemory]:
    with GuestMemory() as memory:
        yield memory


@pytest.fixture
def front(daemon: Daemon) -> Iterator[FrontEnd]:
    """A connection to blk.0, nothing said yet."""
    with FrontEnd(daemon.socket("blk.0")) as front:
        yield front


@pytest.fixture
def ready(front: FrontEnd, memory: GuestMemory) -> FrontEnd:
    """A connection to blk.0 that has negotiated and shared `memory`."""
    front.negotiate()
    front.share(memory)
    return front


@pytest.fixture
def ring(ready: FrontEnd, memory: GuestMemory) -> Iterator[SplitRing]:
    """Ring 0 of blk.0, running."""
    ring = SplitRing(memory, 0)
    ready.start([ring])
    yield ring
    ring.close()


@pytest.fixture
def bystander(daemon: Daemon) -> Iterator[Blk]:
    """A second front-end with a running disk (blk.1); it must work before and after the test."""
    with FrontEnd(daemon.socket("blk.1")) as other, GuestMemory() as memory:
        other.negotiate()
        other.share(memory)
        ring = SplitRing(memory, 0)
        other.start([ring])
        disk = Blk(ring)
        assert disk.write(0, b"bystander".ljust(512, b".")) == 0
        yield disk
        assert disk.read(0, 512).startswith(b"bystander.")
        assert other.alive()
        ring.close()
