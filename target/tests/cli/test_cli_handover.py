# SPDX-License-Identifier: BSD-3-Clause
"""Planned hand-overs as an operator begins them: vhostctl, SIGUSR2, a new program, files."""

from __future__ import annotations

import re
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from .orphans import adopted, end, wait_for_end
from .program import Daemon, ctl, ctl_json, listens, sockets, until, vhost

CONFIG = "[Null]\nDev N 64 4096\n[VhostBlk0]\nName blk.0\nDev N\n"


@pytest.fixture(autouse=True)
def orphans_are_ours() -> Iterator[None]:
    """A successor becomes our child when its predecessor has ended."""
    yield from adopted()


def pid_in(path: Path) -> int:
    return int(path.read_text())


def program_of(pid: int) -> Path:
    return Path(f"/proc/{pid}/exe").readlink()


def test_vhostctl(tmp_path: Path) -> None:
    """The answer comes when the successor serves; the process number file is the successor's."""
    pid_file = tmp_path / "pid"
    with Daemon(tmp_path, ["-f", str(pid_file)], CONFIG) as daemon:
        assert pid_in(pid_file) == daemon.process.pid
        said = ctl(tmp_path, "handover")
        match = re.fullmatch(
            r"process (\d+), hand-overs: 1, pause of the last 0\.000 ms, longest 0\.000 ms\n", said
        )
        assert match, said
        daemon.wait()
    successor = int(match[1])
    assert pid_in(pid_file) == successor != daemon.process.pid
    assert ctl(tmp_path, "handover-status") == said
    assert sockets(tmp_path) == ["blk.0", "vhost-rpc.sock"]
    assert listens(tmp_path / "blk.0")
    end(successor)
    assert sockets(tmp_path) == []
    assert not pid_file.exists()
    assert "taken over: 0 running queues" in daemon.text()
    assert daemon.text().endswith("Exiting\n")


def test_failure(tmp_path: Path) -> None:
    """vhostctl says why, and the daemon is the same."""
    with Daemon(tmp_path, config=CONFIG) as daemon:
        said = ctl(tmp_path, "handover", "/bin/false", status=1)
        assert "the daemon goes on: the new process ended with status 1" in said
        assert "cannot start /etc/passwd: Perm" in ctl(
            tmp_path, "handover", "/etc/passwd", status=1
        )
        status = ctl_json(tmp_path, "handover-status")
        assert (status["state"], status["pid"]) == ("failed", daemon.process.pid)
        assert "the last attempt failed" in ctl(tmp_path, "handover-status")


def test_signal_without_management(tmp_path: Path) -> None:
    """SIGUSR2 hands over a daemon that has no configuration file, with its one disk."""
    (tmp_path / "disk").write_bytes(bytes(1 << 20))
    pid_file = tmp_path / "pid"
    args = ["--blk-file", "disk", "--socket-path", "sock", "-f", str(pid_file)]
    with Daemon(tmp_path, args) as daemon:
        daemon.end(signal.SIGUSR2)
    successor = pid_in(pid_file)
    assert successor != daemon.process.pid
    assert listens(tmp_path / "sock")
    end(successor)
    assert sockets(tmp_path) == []


def test_signal_to_one_that_ends(tmp_path: Path) -> None:
    """SIGTERM right behind SIGUSR2: somebody ends in order, and nobody is left.

    No successor starts so fast that the daemon could have ended in between.
    """
    with Daemon(tmp_path, config=CONFIG) as daemon:
        daemon.process.send_signal(signal.SIGUSR2)
        daemon.end()
    until("no sockets", lambda: sockets(tmp_path) == [])
    for pid in re.findall(r"handing over to process (\d+)", daemon.text()):
        wait_for_end(int(pid))


def test_a_socket_that_was_passed(tmp_path: Path) -> None:
    """It is served on, and its file is nobody's to remove."""
    path = tmp_path / "elsewhere"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        fd = listener.fileno()
        with Daemon(tmp_path, ["--fd", f"blk.0={fd}"], CONFIG, pass_fds=[fd]) as daemon:
            ctl(tmp_path, "handover")
            daemon.wait()
    successor = int(ctl_json(tmp_path, "handover-status")["pid"])
    assert listens(path)
    end(successor)
    assert sockets(tmp_path) == ["elsewhere"]
    assert not listens(path)


class Copied(Daemon):
    """A program of its own, that can be replaced."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, config=CONFIG)
        self._argv[0] = str(directory / "vhost")
        shutil.copy(vhost(), self._argv[0])


def test_a_new_program(tmp_path: Path) -> None:
    """After an update the successor is what lies where the old program came from."""
    with Copied(tmp_path) as daemon:
        shutil.copy(vhost(), tmp_path / "new")
        (tmp_path / "new").rename(tmp_path / "vhost")
        assert str(program_of(daemon.process.pid)).endswith(" (deleted)")
        ctl(tmp_path, "handover")
        daemon.wait()
    successor = int(ctl_json(tmp_path, "handover-status")["pid"])
    assert program_of(successor) == tmp_path / "vhost"
    assert Path(f"/proc/{successor}/cmdline").read_bytes().split(b"\0")[0].endswith(b"/vhost")
    end(successor)
