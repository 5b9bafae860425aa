# SPDX-License-Identifier: BSD-3-Clause
"""vhostctl(1) and a daemon that stands still."""

from __future__ import annotations

import contextlib
import signal
import socket
import time
from pathlib import Path

from .program import Daemon, ctl, ctl_json


def test_connecting_has_an_end(tmp_path: Path) -> None:
    """Scripts that ask in turns fill the backlog; the next one waited for ever."""
    with Daemon(tmp_path, config="[Null]\nDev N 1\n") as daemon, contextlib.ExitStack() as stack:
        daemon.process.send_signal(signal.SIGSTOP)
        try:
            while True:
                client = stack.enter_context(socket.socket(socket.AF_UNIX))
                client.setblocking(False)
                client.connect(str(tmp_path / "vhost-rpc.sock"))
        except BlockingIOError:
            pass
        begin = time.monotonic()
        message = ctl(tmp_path, "bdevs", status=2)
        assert message.startswith("vhostctl: no daemon answers at vhost-rpc.sock: Connection timed")
        assert time.monotonic() - begin < 20
        daemon.process.send_signal(signal.SIGCONT)
        stack.close()
        assert len(ctl_json(tmp_path, "bdevs")) == 1
