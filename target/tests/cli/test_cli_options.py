# SPDX-License-Identifier: BSD-3-Clause
"""vhost(8): every option."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import struct
from pathlib import Path

import pytest

from .program import ROOT, Daemon, ctl_json, listens, refused, run, sanitized, sockets

NULL = "[Null]\nDev N 1\n[VhostBlk0]\nName blk.0\nDev N\n"
TWO = NULL + "[VhostScsi0]\nName scsi.0\n"


def test_help_and_manual_know_the_same_options(tmp_path: Path) -> None:
    done = run(["-h"], tmp_path)
    assert done.returncode == 0
    assert not done.stderr
    shown = set(re.findall(r"^  +(-[A-Za-z])\b", done.stdout, re.M))
    shown |= set(re.findall(r"(--[a-z-]+)", done.stdout))
    manual = (ROOT / "docs/man/vhost.8").read_text()
    described = {f"-{name}" for name in re.findall(r"\bFl ([A-Za-z]|-[a-z-]+)\b", manual)}
    listed = re.search(r"\.Op Fl (\w{2,})\n", manual)
    assert listed is not None
    described -= {f"-{listed[1]}"}
    described |= {f"-{letter}" for letter in listed[1]}
    assert shown == described


def test_version(tmp_path: Path) -> None:
    done = run(["--version"], tmp_path)
    assert done.returncode == 0
    assert re.fullmatch(r"vhost \d+\.\d+\.\d+ \((DPDK [\d.]+|posix)\)\n", done.stdout)


def test_capabilities_are_those_of_the_convention(tmp_path: Path) -> None:
    done = run(["--print-capabilities"], tmp_path)
    assert done.returncode == 0
    assert json.loads(done.stdout) == {"type": "block", "features": ["read-only", "blk-file"]}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["-x"], "Unknown option '-x'."),
        (["-qx"], "Unknown option '-x'."),
        (["--nonsense"], "Unknown option '--nonsense'."),
        (["-c"], "Option '-c' needs an argument."),
        (["--mode"], "Option '--mode' needs an argument."),
        (["vhost.conf"], "Unexpected argument 'vhost.conf': vhost takes options only."),
        (["--mode", "fast"], "Option '--mode': 'fast' is not adaptive, poll or event."),
        (["-s", "1G"], "Option '-s': '1G' is not a decimal number in range."),
        (["--idle-us", "-1"], "Option '--idle-us': '-1' is not a decimal number in range."),
        (["--mem-slots", "513"], "Option '--mem-slots': '513' is not a decimal number in range."),
        (["--fd", "a=b"], "Option '--fd': 'b' is not a decimal number in range."),
        (["-t", "nvme_tcp"], "Option '-t': 'nvme_tcp' is not a trace flag."),
        (["--read-only"], "--socket-path and --read-only go with --blk-file"),
        (["--blk-file", "f"], "--blk-file needs either --socket-path or --fd"),
        (["--blk-file", "f", "-c", "g", "--fd", "3"], "--blk-file and -c exclude each other"),
    ],
)
def test_wrong_usage(tmp_path: Path, args: list[str], message: str) -> None:
    done = run(args, tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(message)
    assert not done.stdout


def test_without_a_configuration(tmp_path: Path) -> None:
    if Path("/usr/local/etc/vhost.conf").exists():
        pytest.skip("this machine has a configuration in the default place")
    assert re.fullmatch(
        r"no configuration: there is no /\S+/vhost\.conf; name a file with -c FILE",
        refused([], tmp_path),
    )


def test_options_of_earlier_programs_are_accepted(tmp_path: Path) -> None:
    args = ["-e", "0xff", "-n", "4", "-p", "0", "-i", "1", "-N", "-d", "-s", "512", "-t", "vhost"]
    with Daemon(tmp_path, args, NULL) as daemon:
        for letter in "enpiN":
            assert f"option -{letter} is accepted but has no effect" in daemon.text()


def test_quiet(tmp_path: Path) -> None:
    (tmp_path / "vhost.conf").write_text("[Null]\nDev N 1\n[VhostBlk0]\nName a\nDev M\n")
    done = run(["-q", "-e", "0x1", "-c", "vhost.conf"], tmp_path)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_within_a_second(tmp_path: Path, number: signal.Signals) -> None:
    with Daemon(tmp_path, ["-f", "pid"], TWO) as daemon:
        assert sockets(tmp_path) == ["blk.0", "scsi.0", "vhost-rpc.sock"]
        assert (tmp_path / "pid").read_text() == f"{daemon.process.pid}\n"
        seconds = daemon.end(number)
        assert seconds < (5.0 if sanitized() else 1.0)
        assert daemon.text().endswith("vhost: notice: Exiting\n")
    assert sockets(tmp_path) == []
    assert not (tmp_path / "pid").exists()


def test_a_process_number_file_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "vhost.conf").write_text(TWO)
    message = refused(["-c", "vhost.conf", "-f", "no/such/dir"], tmp_path)
    assert message.startswith("cannot create the process number file no/such/dir: No such file")


def test_standard_input_is_left_alone(tmp_path: Path) -> None:
    near, far = os.pipe()
    os.write(far, b"not for the daemon")
    with Daemon(tmp_path, config=NULL, stdin=near):
        pass
    os.close(far)
    assert os.read(near, 100) == b"not for the daemon"
    os.close(near)


@pytest.mark.parametrize("directory", ["here", "here/", "./here/."])
def test_directory_of_the_sockets(tmp_path: Path, directory: str) -> None:
    (tmp_path / "here").mkdir()
    with Daemon(tmp_path, ["-S", directory], NULL):
        assert sockets(tmp_path / "here") == ["blk.0", "vhost-rpc.sock"]
        assert (tmp_path / "here/blk.0").stat().st_mode & 0o777 == 0o660
        assert (tmp_path / "here/vhost-rpc.sock").stat().st_mode & 0o777 == 0o600
    assert sockets(tmp_path / "here") == []


@pytest.mark.parametrize("directory", ["absent", "vhost.conf"])
def test_a_directory_that_is_none(tmp_path: Path, directory: str) -> None:
    """One line that names the option, not one per socket."""
    (tmp_path / "vhost.conf").write_text(TWO)
    done = run(["-q", "-c", "vhost.conf", "-S", directory], tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"vhost: error: cannot make sockets in {directory} (-S): ")
    assert len(done.stderr.splitlines()) == 1


def test_mask_overrides_the_file(tmp_path: Path) -> None:
    usable = min(os.sched_getaffinity(0))
    config = "[Global]\nReactorMask [900]\n" + NULL
    with Daemon(tmp_path, ["-m", f"[{usable}]"], config):
        (reactor,) = ctl_json(tmp_path, "reactors")["reactors"]
        assert reactor["lcore"] == usable


@pytest.mark.parametrize("mask", ["zero", "0x0", "[1", "0x"])
def test_bad_mask(tmp_path: Path, mask: str) -> None:
    (tmp_path / "vhost.conf").write_text(NULL)
    message = refused(["-c", "vhost.conf", "-m", mask], tmp_path)
    assert message == (f"'{mask}' is no core mask (-m, ReactorMask); write it like 0x3 or [0-1]")


@pytest.mark.parametrize(("args", "slots"), [([], 512), (["--mem-slots", "32"], 32)])
def test_memory_slots(tmp_path: Path, args: list[str], slots: int) -> None:
    """vhost-user: SET_PROTOCOL_FEATURES with CONFIGURE_MEM_SLOTS, then GET_MAX_MEM_SLOTS."""
    with (
        Daemon(tmp_path, args, NULL),
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as front,
    ):
        front.settimeout(10)
        front.connect(str(tmp_path / "blk.0"))
        front.sendall(struct.pack("<IIIQ", 16, 1, 8, 1 << 15) + struct.pack("<III", 36, 1, 0))
        reply = front.recv(20, socket.MSG_WAITALL)
        assert struct.unpack("<IIIQ", reply) == (36, 5, 8, slots)


@pytest.mark.parametrize("mode", ["adaptive", "poll", "event"])
def test_modes(tmp_path: Path, mode: str) -> None:
    with Daemon(tmp_path, ["--mode", mode, "--idle-us", "100", "--no-huge"], NULL):
        assert listens(tmp_path / "blk.0")
        first = ctl_json(tmp_path, "reactors")["reactors"][0]["rounds"]
        assert ctl_json(tmp_path, "reactors")["reactors"][0]["rounds"] >= first
