# SPDX-License-Identifier: BSD-3-Clause
"""The process beside a daemon that starts its successor, and that both are confined."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from .orphans import adopted, children, end, wait_for_end
from .program import Daemon, ctl, ctl_json, listens, rights, sockets, until

CONFIG = "[Malloc]\nNumberOfLuns 1\nLunSizeInMB 1\n[VhostBlk0]\nName blk.0\nDev Malloc0\n"
SUCCESSOR = Path(__file__).parents[1] / "protocol" / "successor.py"
NAME = "vhost-starter"
FOR_ALL = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2, signal.SIGTSTP)
"""What a terminal or a service manager may send to every process of the daemon."""


@pytest.fixture(autouse=True)
def orphans_are_ours() -> Iterator[None]:
    """Starters from the beginning; a successor when its predecessor has ended."""
    yield from adopted()


def starters() -> list[int]:
    return [pid for pid, name in children().items() if name == NAME]


def hand_over(daemon: Daemon) -> int:
    """The process that serves now; the other one has ended."""
    old = int(ctl_json(daemon.directory, "handover-status")["pid"])
    ctl(daemon.directory, "handover")
    if old == daemon.process.pid:
        daemon.wait()
    else:
        wait_for_end(old)
    return int(ctl_json(daemon.directory, "handover-status")["pid"])


def begin_handover(directory: Path, binary: Path) -> None:
    """As vhostctl does, without waiting for what becomes of it."""
    request = {"jsonrpc": "2.0", "id": 1, "method": "handover", "params": {"binary": str(binary)}}
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(directory / "vhost-rpc.sock"))
        client.sendall(json.dumps(request).encode())
        assert json.loads(client.recv(4096))["result"] is True


def assert_confined(pid: int) -> None:
    threads = rights(pid)
    assert len(threads) >= 2
    for thread in threads:
        assert (thread["Seccomp"], thread["NoNewPrivs"]) == (2, 1)


def test_successors_are_confined(tmp_path: Path) -> None:
    """As the first one is: all threads, the same capabilities; and each hands over in its turn."""
    with Daemon(tmp_path, config=CONFIG) as daemon:
        first = rights(daemon.process.pid)[0]
        assert_confined(daemon.process.pid)
        pid = daemon.process.pid
        for _ in range(3):
            last, pid = pid, hand_over(daemon)
            assert pid != last
            assert_confined(pid)
            assert rights(pid)[0] == first
            assert len(starters()) == 1  # the other has ended before its daemon has
    assert listens(tmp_path / "blk.0")
    end(pid)
    until("no starter", lambda: starters() == [])
    assert "is not permitted to this process" not in daemon.text(), daemon.text()


def test_it_has_nothing(tmp_path: Path) -> None:
    """No socket of the daemon, also none that was passed to it, and no file."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "elsewhere"))
        listener.listen()
        fd = listener.fileno()
        args = ["--fd", f"blk.0={fd}", "-f", str(tmp_path / "pid")]
        with Daemon(tmp_path, args, CONFIG, pass_fds=[fd]) as daemon:
            for _ in range(2):
                (starter,) = starters()
                links = {p.name: str(p.readlink()) for p in Path(f"/proc/{starter}/fd").iterdir()}
                assert links["0"] == os.devnull
                assert links["1"] == links["2"] == str(daemon.log)
                assert links["3"].startswith("socket:")
                assert set(links) == {"0", "1", "2", "3"}
                pid = hand_over(daemon)
            end(pid)


@pytest.mark.parametrize("handed_over", [False, True])
def test_a_daemon_that_is_killed_leaves_none(tmp_path: Path, handed_over: bool) -> None:
    with Daemon(tmp_path, config=CONFIG) as daemon:
        if handed_over:
            os.kill(pid := hand_over(daemon), signal.SIGKILL)
            wait_for_end(pid)
        else:
            assert len(starters()) == 1
            daemon.process.kill()
            daemon.process.wait()
        until("no starter", lambda: starters() == [])


def test_signals_for_all(tmp_path: Path) -> None:
    """They are for the daemon to understand."""
    with Daemon(tmp_path, config=CONFIG) as daemon:
        (starter,) = starters()
        for number in FOR_ALL:
            os.kill(starter, number)
        pid = hand_over(daemon)
        assert listens(tmp_path / "blk.0")
        status = Path(f"/proc/{pid}/status").read_text()
        assert "\nSigBlk:\t0000000000000000\n" in status
        end(pid)
    assert sockets(tmp_path) == []


def test_one_that_was_killed(tmp_path: Path) -> None:
    """The daemon serves on, but hands over no more."""
    with Daemon(tmp_path, config=CONFIG):
        os.kill(starters()[0], signal.SIGKILL)
        until("its end", lambda: starters() == [])
        for _ in range(2):
            said = ctl(tmp_path, "handover", status=1)
            assert "the starter of this process is dead: it cannot hand over any more" in said
        assert listens(tmp_path / "blk.0")


def test_one_that_was_killed_with_the_rings_given_away(tmp_path: Path) -> None:
    """Nobody can end the successor, which has the word and is silent: two must not serve."""
    script = tmp_path / "hangs"
    script.write_text(f"#!/bin/sh\nFAIL_AT=go FAIL_HOW=hang exec {SUCCESSOR}\n")
    script.chmod(0o755)
    with Daemon(tmp_path, config=CONFIG) as daemon:
        begin_handover(tmp_path, script)
        os.kill(starters()[0], signal.SIGKILL)
        daemon.wait()
        text = daemon.text()
        assert "the new process does not serve, and it cannot be ended: " in text
    match = re.search(r"handed over to process (\d+)", text)
    assert match
    os.kill(pid := int(match[1]), signal.SIGKILL)
    wait_for_end(pid)


def test_no_handover(tmp_path: Path) -> None:
    """No starter; who asks hears why; nothing else is another."""
    with Daemon(tmp_path, ["--no-handover"], CONFIG) as daemon:
        assert starters() == []
        said = ctl(tmp_path, "handover", status=1)
        assert (
            said == "vhostctl: handover: hand-overs are switched off (--no-handover) (code -95)\n"
        )
        daemon.process.send_signal(signal.SIGUSR2)
        until(
            "a line in the log",
            lambda: (
                "cannot hand over: hand-overs are switched off (--no-handover)" in daemon.text()
            ),
        )
        assert ctl_json(tmp_path, "handover-status")["state"] == "never"
        assert_confined(daemon.process.pid)


def test_an_absolute_path(tmp_path: Path) -> None:
    with Daemon(tmp_path, config=CONFIG):
        assert "'vhost' is no absolute path" in ctl(tmp_path, "handover", "vhost", status=1)
