# SPDX-License-Identifier: BSD-3-Clause
"""What front-ends can make the daemon log: enough to see what is wrong, and no more than that."""

from __future__ import annotations

from pathlib import Path

from . import wire
from .daemon import Daemon
from .frontend import FrontEnd
from .waiting import until
from .wire import Message, Request, state, u64


def lines(daemon: Daemon, about: str) -> list[str]:
    return [line for line in daemon.log.read_text().splitlines() if about in line]


def test_a_connection_that_we_end_is_explained(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        for message in (
            u64(Request.SET_FEATURES, 2**64 - 1),
            state(Request.SET_VRING_NUM, 0, 0),
            Message(Request.SET_OWNER, b"", (0,)),
        ):
            with FrontEnd(daemon.socket("blk.0")) as front:
                front.send(message)
                assert front.ended()
        with FrontEnd(daemon.socket("blk.0")) as front:
            front.send_bytes(wire.HEADER.pack(Request.SET_OWNER, 0, 0))
            assert front.ended()
        until("four lines are there", lambda: len(lines(daemon, "blk.0: ")) >= 4)
        assert lines(daemon, "blk.0: ") == [
            f"vhost: warning: blk.0: the connection was ended: {why}"
            for why in (
                "SET_FEATURES: feature bits that were not offered",
                "SET_VRING_NUM: not the size of a ring",
                "SET_OWNER: wrong number of file descriptors",
                "not a vhost-user message",
            )
        ]


def test_a_connection_that_ends_is_nothing_special(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        with FrontEnd(daemon.socket("blk.0")) as front:
            front.negotiate()
        with FrontEnd(daemon.socket("blk.0")) as front:
            assert front.alive()
        assert lines(daemon, "blk.0: ") == []


def test_the_log_cannot_be_filled(tmp_path: Path) -> None:
    """Rule R12, also over many connections; another controller's lines are still written."""
    with Daemon(tmp_path) as daemon:
        for _ in range(200):
            with FrontEnd(daemon.socket("blk.0")) as front:
                front.send(state(Request.SET_VRING_NUM, 0, 0))
                assert front.ended()
        assert len(lines(daemon, "blk.0: ")) <= 20
        with FrontEnd(daemon.socket("blk.1")) as front:
            front.send(state(Request.SET_VRING_NUM, 0, 0))
            assert front.ended()
        until("its line is there", lambda: len(lines(daemon, "blk.1: ")) == 1)
