# SPDX-License-Identifier: BSD-3-Clause
"""Sockets that the parent process made, and the daemon without a configuration file."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from .program import Daemon, ctl_json, listens, refused, sockets, until

ONE = "[Null]\nDev N 1\n[VhostBlk0]\nName blk.0\nDev N\n"
TWO = ONE + "[VhostScsi0]\nName scsi.0\n"


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tmp_path / "passed"))
        made.listen()
        yield made


def sessions(directory: Path, name: str) -> int:
    (controller,) = ctl_json(directory, "controllers", name)
    return int(controller["sessions_accepted"])


def check_serves(directory: Path, name: str) -> None:
    before = sessions(directory, name)
    assert listens(directory / "passed")
    until("the controller accepted", lambda: sessions(directory, name) == before + 1)


def test_the_only_controller(tmp_path: Path, listener: socket.socket) -> None:
    fd = listener.fileno()
    with Daemon(tmp_path, ["--fd", str(fd)], ONE, pass_fds=[fd]):
        check_serves(tmp_path, "blk.0")
        assert sockets(tmp_path) == ["passed", "vhost-rpc.sock"]
    # Who made it removes it.
    assert sockets(tmp_path) == ["passed"]


def test_one_of_two(tmp_path: Path, listener: socket.socket) -> None:
    fd = listener.fileno()
    with Daemon(tmp_path, ["--fd", f"scsi.0={fd}"], TWO, pass_fds=[fd]):
        check_serves(tmp_path, "scsi.0")
        assert sockets(tmp_path) == ["blk.0", "passed", "vhost-rpc.sock"]


@pytest.mark.parametrize(
    ("config", "name", "message"),
    [
        (TWO, "", "vhost.conf: it has 2 controllers, so a passed socket must say whose it is"),
        (TWO, "blk.9=", "vhost.conf: no controller has the Name 'blk.9'"),
        ("[Null]\n", "", "vhost.conf: it has 0 controllers"),
    ],
)
def test_whose_is_it(
    tmp_path: Path, listener: socket.socket, config: str, name: str, message: str
) -> None:
    (tmp_path / "vhost.conf").write_text(config)
    fd = listener.fileno()
    assert message in refused(["-c", "vhost.conf", "--fd", f"{name}{fd}"], tmp_path, [fd])


def test_one_socket_for_two(tmp_path: Path, listener: socket.socket) -> None:
    (tmp_path / "vhost.conf").write_text(TWO)
    fd = listener.fileno()
    args = ["-c", "vhost.conf", "--fd", f"blk.0={fd}", "--fd", f"scsi.0={fd}"]
    assert refused(args, tmp_path, [fd]) == f"file descriptor {fd} is passed in twice"


def test_not_a_listening_socket(tmp_path: Path) -> None:
    (tmp_path / "vhost.conf").write_text(ONE)
    with (tmp_path / "file").open("w") as file, socket.socket(socket.AF_UNIX) as idle:
        for fd in (file.fileno(), idle.fileno()):
            message = refused(["-c", "vhost.conf", "--fd", str(fd)], tmp_path, [fd])
            assert f"file descriptor {fd} for blk.0 is not a listening UNIX socket" in message
    message = refused(["-c", "vhost.conf", "--fd", "999"], tmp_path)
    assert "file descriptor 999 for blk.0 is not a listening UNIX socket" in message


def test_a_file_on_a_path(tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(bytes(1 << 20))
    path = tmp_path / "socket"
    args = ["--blk-file", "disk", "--socket-path", str(path), "--read-only", "-r", "rpc"]
    with Daemon(tmp_path, args):
        assert listens(path)
        (bdev,) = ctl_json(tmp_path, "-s", "rpc", "bdevs")
        assert (bdev["driver"], bdev["read_only"]) == ("aio", True)
    assert sockets(tmp_path) == []


def test_a_file_on_a_passed_socket(tmp_path: Path, listener: socket.socket) -> None:
    (tmp_path / "disk").write_bytes(bytes(1 << 20))
    fd = listener.fileno()
    with Daemon(tmp_path, ["--blk-file", "disk", "--fd", str(fd)], pass_fds=[fd]):
        assert listens(tmp_path / "passed")
        # Nobody asked for management.
        assert sockets(tmp_path) == ["passed"]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    message = refused(["--blk-file", "absent", "--socket-path", "socket"], tmp_path)
    assert "absent" in message
    assert "No such file" in message
