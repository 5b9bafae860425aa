# SPDX-License-Identifier: BSD-3-Clause
"""vhostctl(1) and the management socket."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .program import ROOT, Daemon, ctl, ctl_json, listens, refused, sockets

CONFIG = "[Null]\nDev N 64 4096\n[VhostBlk0]\nName blk.0\nDev N\nSerial S1\n"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Path]:
    with Daemon(tmp_path, config=CONFIG):
        yield tmp_path


def columns(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_tables(here: Path) -> None:
    header, row = columns(ctl(here, "controllers"))
    assert " ".join(header) == (
        "NAME TYPE CPUMASK CORES FRONT-END SESSIONS COALESCING LIMITS SOCKET DISKS"
    )
    assert row == ["blk.0", "blk", "0x1", "-", "none", "0", "-", "-", "blk.0", "N"]
    header, row = columns(ctl(here, "bdevs", "N"))
    assert row == ["N", "null", "64", "MiB", "4096", "1", "read-write", "N"]
    assert len(columns(ctl(here, "stats"))) == 1
    header, row = columns(ctl(here, "reactors"))
    assert header == ["CORE", "NODE", "ROUNDS", "BUSY", "SLEEPS"]
    assert ctl(here, "version").startswith("vhost ")
    assert "construct_vhost_blk_controller" in ctl(here, "methods").splitlines()


def test_a_life(here: Path) -> None:
    assert ctl(here, "create-malloc", "M", "8") == "M\n"
    assert ctl(here, "create-null", "123", "1", "512") == "123\n"
    (here / "disk").write_bytes(bytes(1 << 20))
    assert ctl(here, "create-aio", "A", "disk", "readonly=yes") == "A\n"
    assert ctl(here, "create-blk", "m", "M", "serial=42", "queues=2", "readonly=yes") == ""
    assert ctl(here, "create-scsi", "s", "cpumask=0x1") == ""
    assert ctl(here, "add-target", "s", "3", "123") == "3\n"
    assert ctl(here, "add-target", "s", "-1", "A") == "0\n"
    assert sockets(here) == ["blk.0", "m", "s", "vhost-rpc.sock"]
    assert listens(here / "m")
    shown = {c["ctrlr"]: c for c in ctl_json(here, "controllers")}
    assert shown["m"]["backend_specific"]["block"] == {"readonly": True, "bdev": "M"}
    assert shown["m"]["max_queues"] == 2
    targets = shown["s"]["backend_specific"]["scsi"]
    assert {t["scsi_dev_num"]: t["luns"][0]["bdev_name"] for t in targets} == {0: "A", 3: "123"}
    assert "in use" in ctl(here, "delete-bdev", "M", status=1)
    assert "targets" in ctl(here, "delete-controller", "s", status=1)
    assert ctl(here, "remove-target", "s", "3") == ""
    assert ctl(here, "delete-controller", "s", "force=yes") == ""
    # A front-end that has just looked in is gone as soon as the daemon has noticed.
    assert ctl(here, "delete-bdev", "123") == ""
    assert ctl(here, "delete-bdev", "A") == ""
    assert sockets(here) == ["blk.0", "m", "vhost-rpc.sock"]


def test_quality_of_service(here: Path) -> None:
    assert ctl(here, "set-coalescing", "blk.0", "50", "60000") == ""
    assert ctl(here, "set-limits", "blk.0", "rw_ios_per_sec=5000") == ""
    _, row = columns(ctl(here, "controllers"))
    assert row[6:8] == ["50us>60000/s", "5000/s"]
    assert ctl(here, "set-limits", "blk.0", "rw_mbytes_per_sec=100") == ""
    _, row = columns(ctl(here, "controllers"))
    assert row[7:9] == ["5000/s", "100MiB/s"]
    assert "which limit?" in ctl(here, "set-limits", "blk.0", status=1)
    (shown,) = ctl_json(here, "controllers")
    assert (shown["delay_base_us"], shown["iops_threshold"]) == (50, 60000)


def test_refusals(here: Path) -> None:
    assert ctl(here, "create-malloc", "N", "1", status=1) == (
        "vhostctl: bdev_malloc_create: there is a bdev 'N' already (code -17)\n"
    )
    assert "no bdev named 'X'" in ctl(here, "create-blk", "b", "X", status=1)
    assert "exists already" in ctl(here, "create-blk", "blk.0", "N", status=1)
    assert "unknown method 'no_method'" in ctl(here, "no_method", status=1)
    assert "unknown parameter 'nam'" in ctl(here, "create-blk", "b", "N", "nam=1", status=1)
    (here / "file").write_text("")
    assert "not a socket" in ctl(here, "create-blk", "file", "N", status=1)
    assert ctl_json(here, "controllers")[0]["ctrlr"] == "blk.0"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "usage: vhostctl"),
        (["nonsense"], "vhostctl: there is no command 'nonsense'; -h lists them\n"),
        (["create-malloc", "M"], "usage: vhostctl create-malloc NAME SIZE-MIB [BLOCK-SIZE]\n"),
        (["create-malloc", "M", "big"], "vhostctl: the size has to be a whole number of MiB\n"),
        (["create-malloc", "M", "1", "3"], "vhostctl: the size has to be a multiple of the"),
        (["create-blk", "a", "b", "c"], "vhostctl: 'c': NAME=VALUE was expected\n"),
        (["-s", "x" * 200, "bdevs"], "vhostctl: the path of the management socket is too long"),
        (["-s", "gone", "bdevs"], "vhostctl: no daemon answers at gone: No such file"),
    ],
)
def test_wrong_usage(tmp_path: Path, words: list[str], message: str) -> None:
    assert ctl(tmp_path, *words, status=2).startswith(message)


def test_help_and_manual_know_the_same_commands(tmp_path: Path) -> None:
    text = ctl(tmp_path, "-h")
    commands = [line.split()[0] for line in text.partition("commands:\n")[2].splitlines() if line]
    manual = (ROOT / "docs/man/vhostctl.1").read_text()
    assert len(commands) > 10
    for command in commands[:-1]:
        assert f"Cm {command}" in manual, command


def ask(path: Path, *requests: Any) -> list[Any]:
    """Send all at once, return the answers."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall("".join(json.dumps(r) for r in requests).encode())
        connection.shutdown(socket.SHUT_WR)
        data = b""
        while more := connection.recv(65536):
            data += more
    return [json.loads(line) for line in data.splitlines()]


def test_every_method_of_the_reference_exists(here: Path) -> None:
    """docs/RPC.md and the daemon know the same names."""
    (answer,) = ask(
        here / "vhost-rpc.sock", {"jsonrpc": "2.0", "id": 1, "method": "rpc_get_methods"}
    )
    reference = (ROOT / "docs/RPC.md").read_text()
    for name in answer["result"]:
        assert f"`{name}`" in reference, name


def test_as_a_client_of_17_07_asks(here: Path) -> None:
    def request(method: str, **params: Any) -> dict[str, Any]:
        return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}

    answers = ask(
        here / "vhost-rpc.sock",
        request("construct_malloc_bdev", num_blocks=2048, block_size=512),
        request("construct_vhost_scsi_controller", ctrlr="old.0"),
        request("add_vhost_scsi_lun", ctrlr="old.0", scsi_dev_num=0, lun_name="Malloc0"),
        request("get_vhost_scsi_controllers"),
        request("remove_vhost_scsi_dev", ctrlr="old.0", scsi_dev_num=0),
        request("remove_vhost_scsi_controller", ctrlr="old.0"),
        request("get_vhost_blk_controllers"),
    )
    assert [a["result"] for a in answers[:3]] == [["Malloc0"], True, True]
    (shown,) = answers[3]["result"]
    assert shown["scsi_devs"][0]["luns"] == [{"id": 0, "name": "Malloc0"}]
    assert [a["result"] for a in answers[4:6]] == [True, True]
    assert answers[6]["result"][0]["bdev"] == "N"


def test_shutdown(tmp_path: Path) -> None:
    with Daemon(tmp_path, config=CONFIG) as daemon:
        assert ctl(tmp_path, "shutdown") == ""
        daemon.wait()
    assert sockets(tmp_path) == []


def test_its_place(tmp_path: Path) -> None:
    with Daemon(tmp_path, ["-r", "mine"], CONFIG + "[Rpc]\nEnable No\n"):
        assert sockets(tmp_path) == ["blk.0", "mine"]
        assert len(ctl_json(tmp_path, "-s", "mine", "controllers")) == 1
    with Daemon(tmp_path, config=CONFIG + "[Rpc]\nEnable No\n"):
        assert sockets(tmp_path) == ["blk.0"]
    with Daemon(tmp_path, config=CONFIG + f"[Rpc]\nListen {tmp_path}/listed\n"):
        assert sockets(tmp_path) == ["blk.0", "listed"]
    with Daemon(tmp_path, config=CONFIG + "[Rpc]\nEnable Yes\nListen 127.0.0.1:5260\n") as daemon:
        assert sockets(tmp_path) == ["blk.0", "vhost-rpc.sock"]
        assert "vhost.conf:9: management listens on a UNIX socket only" in daemon.text()


def test_its_place_is_taken(tmp_path: Path) -> None:
    """Only somebody who asked for that very place has to be told by an error."""
    (tmp_path / "vhost-rpc.sock").write_text("")
    with Daemon(tmp_path, config=CONFIG) as daemon:
        assert "warning: no management socket" in daemon.text()
        assert sockets(tmp_path) == ["blk.0"]
    message = refused(["-c", "vhost.conf", "-r", "vhost-rpc.sock"], tmp_path)
    assert message.startswith("management: Cannot remove vhost-rpc.sock: not a socket")
