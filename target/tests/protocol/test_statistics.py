# SPDX-License-Identifier: BSD-3-Clause
"""What a queue is told to have done, as an operator reads it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from .daemon import Daemon, binary
from .frontend import FrontEnd
from .memory import GuestMemory, SplitRing
from .test_fairness import Flood, read_table
from .waiting import until

REQUESTS = 8


def shown(daemon: Daemon) -> dict[str, str]:
    """The line of blk.0's ring 0 in `vhostctl stats`, by the words above it."""
    client = binary().parent.parent / "vhostctl" / "vhostctl"
    socket = daemon.socket("vhost-rpc.sock")
    text = subprocess.run(
        [str(client), "-s", str(socket), "stats", "blk.0"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    header, *rows = (line.split() for line in text.splitlines())
    (row,) = (row for row in rows if row[:2] == ["blk.0", "0"])
    # A size has a unit of its own: "24.0 KiB".
    words = [word for word in row if word not in ("B", "KiB", "MiB")]
    return dict(zip(header, words, strict=True))


def test_batch_and_calls_per_request(tmp_path: Path) -> None:
    """Requests that become available together are one batch, with one call at most."""
    with (
        Daemon(tmp_path) as daemon,
        FrontEnd(daemon.socket("blk.0")) as front,
        GuestMemory() as memory,
    ):
        front.negotiate()
        front.share(memory)
        ring = SplitRing(memory, 0, size=REQUESTS)
        front.start([ring])
        flood = Flood(ring, read_table(memory, 4096))
        flood.start()
        until("they are served", flood.is_done)
        until("they are counted", lambda: shown(daemon)["READ"] == str(REQUESTS * 4))
        row = shown(daemon)
        ring.close()
    assert row["REQUESTS"] == str(REQUESTS)
    assert row["BATCH"] == f"{REQUESTS:.1f}"
    assert row["CALLS/REQ"] == f"{1 / REQUESTS:.3f}"
    assert row["STATE"] == "running"
