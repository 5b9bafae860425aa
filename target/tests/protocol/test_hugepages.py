# SPDX-License-Identifier: BSD-3-Clause
"""The daemon's own memory, when there are hugepages but not enough of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .daemon import Daemon, binary
from .frontend import Blk, FrontEnd
from .memory import GuestMemory, SplitRing
from .wire import Request

POOL = Path("/sys/kernel/mm/hugepages/hugepages-2048kB")
PAGES = 33
"""A little more than the daemon wants to see before it uses any."""


@pytest.fixture
def few_hugepages() -> Iterator[None]:
    """Reserved for the test, if this machine lets it."""
    size = POOL / "nr_hugepages"
    if b"rte_eal_init" not in binary().read_bytes():
        pytest.skip("this build does not use hugepages")
    try:
        before = size.read_text()
        if int(before) > 0:
            pytest.skip("the hugepages of this machine may be in use")
        size.write_text(str(PAGES))
    except OSError as error:
        pytest.skip(f"hugepages cannot be reserved: {error}")
    try:
        if int((POOL / "free_hugepages").read_text()) < PAGES:
            pytest.skip("the kernel has no hugepages to spare")
        yield
    finally:
        size.write_text(before)


@pytest.mark.usefixtures("few_hugepages")
def test_a_guest_that_uses_up_the_hugepages(tmp_path: Path) -> None:
    """Two front-ends with all queues they can have, of the largest size; a third one after them."""
    with Daemon(tmp_path) as daemon, GuestMemory(size=1 << 22) as memory:
        assert "with hugepages" in daemon.log_tail()
        fronts = []
        ring = SplitRing(memory, 0, 32768)
        for name in ("blk.0", "scsi.0"):
            front = FrontEnd(daemon.socket(name))
            fronts.append(front)
            front.negotiate()
            front.share(memory)
            for index in range(front.ask_u64(Request.GET_QUEUE_NUM)):
                ring.index = index
                for message in ring.setup():
                    assert front.acknowledged(message) == 0
        with FrontEnd(daemon.socket("blk.1")) as other:
            other.negotiate()
            other.share(memory)
            mine = SplitRing(memory, 0, 256)
            other.start([mine])
            assert Blk(mine).flush() == 0
            mine.close()
        ring.close()
        for front in fronts:
            front.close()
