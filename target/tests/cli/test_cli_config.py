# SPDX-License-Identifier: BSD-3-Clause
"""vhost.conf(5): what a file makes, and every mistake in one."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from .program import ROOT, Daemon, ctl_json, refused, run, sockets

NULL = "[Null]\nDev N 1\n"
BLK = NULL + "[VhostBlk0]\nName blk.0\nDev N\n"
CORE = min(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("", "vhost.conf: no [section] in it: this is not a vhost configuration file"),
        ("[Malloc]\nNumberOfLun 1\n", "vhost.conf:2: unknown key 'NumberOfLun' in section"),
        ("[Maloc]\n", "vhost.conf:1: unknown section [Maloc]; did you mean [Malloc]?"),
        ("[Malloc]\nNumberOfLuns two\n", "vhost.conf:2: NumberOfLuns: 'two' is not a decimal"),
        ("[VhostBlkX]\n", "vhost.conf:1: section [VhostBlkX] has non-numeric suffix"),
        (BLK + "[VhostBlk1]\nDev N\n", "vhost.conf:6: [VhostBlk1]: missing Name"),
        (BLK + "[VhostBlk1]\nName blk.0\nDev N\n", "vhost.conf:7: controller blk.0 exists"),
        ("[VhostBlk1]\nName b\nDev Gone\n", "vhost.conf:3: b: there is no bdev named 'Gone'"),
        (NULL + "Dev N 2\n", "vhost.conf:3: there is a bdev 'N' already"),
        (BLK + "Cpumask [900]\n", "vhost.conf:6: blk.0: Cpumask [900] is not a subset"),
        (f"[Global]\nReactorMask [{CORE},900]\n", "vhost.conf:2: core 900 of"),
        ("[AIO]\nAIO /nonexistent/disk A\n", "vhost.conf:2: "),
        ("[AIO]\nAIO odd A 4096\n", "vhost.conf:2: "),
        ("[AIO]\nAIO /proc/version A\n", "vhost.conf:2: "),
        ("[Malloc]\nNumberOfLuns 1\nLunSizeInMB 100000000\n", "do not fit into the"),
        (NULL + "[VhostBlk0]\nName taken\nDev N\n", "vhost.conf:4: Cannot remove taken: not a"),
        (BLK + "[Rpc]\nListen /no/such/s\n", "vhost.conf:7: management: cannot create socket /no"),
        (BLK + f"[VhostBlk1]\nDev N\nName {'x' * 120}\n", "vhost.conf:8: socket path xxxx"),
        (BLK + "[VhostBlk1]\nName no/such/b\nDev N\n", "vhost.conf:7: cannot create socket no/"),
        ('[Nvme]\nTransportID "trtype:PCIe traddr:0000:01:00.0" Nvme0\n', "vhost.conf:2: section"),
    ],
)
def test_mistakes(tmp_path: Path, config: str, message: str) -> None:
    """One line with the place, exit status 1, no socket left: not even of what was right."""
    (tmp_path / "vhost.conf").write_text(config)
    (tmp_path / "taken").write_text("somebody's file\n")
    (tmp_path / "odd").write_bytes(bytes(4096 + 512))
    args = ["-c", "vhost.conf"]
    if "[Global]" not in config:
        args += ["-m", f"[{CORE}]"]
    assert message in refused(args, tmp_path)
    assert (tmp_path / "taken").read_text() == "somebody's file\n"


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    message = refused(["-c", "absent.conf"], tmp_path)
    assert message == "cannot read the configuration file absent.conf: No such file or directory"


def test_a_socket_in_use(tmp_path: Path) -> None:
    """A second daemon does not take the first one's sockets away."""
    with Daemon(tmp_path, config=BLK):
        message = refused(["-c", "vhost.conf"], tmp_path)
        assert message.startswith("vhost.conf:4: blk.0 is in use: another process listens there")
        assert sockets(tmp_path) == ["blk.0", "vhost-rpc.sock"]
        assert len(ctl_json(tmp_path, "controllers")) == 1


def test_oddities_are_warnings_unless_strict(tmp_path: Path) -> None:
    config = "Stray 1\n" + BLK + 'Serial "unclosed\nReadOnly perhaps\n'
    with Daemon(tmp_path, config=config) as daemon:
        warnings = [line for line in daemon.text().splitlines() if "warning" in line]
        assert re.findall(r"vhost\.conf:(\d+)", "\n".join(warnings)) == ["1", "7", "8"]
        (controller,) = ctl_json(tmp_path, "controllers")
        assert controller["backend_specific"]["block"] == {"readonly": False, "bdev": "N"}
    message = refused(["--strict", "-c", "vhost.conf"], tmp_path)
    assert message.startswith("vhost.conf:1: 'Stray' stands before the first [section]")


def test_the_published_guide(tmp_path: Path) -> None:
    """Comments behind values, as the guide writes them."""
    config = """
[Malloc]
  NumberOfLuns 3
  LunSizeInMB 4
[VhostBlk1]
  Name vhost.1   # Name of vhost socket
  Dev Malloc0    # "Malloc0" is block device name from previous
                 # sections in config file
  #Cpumask 0x1   # Optional parameter defining which core controller uses
[VhostScsi0]
  Name vhost.0   # Name of vhost socket
  Dev 0 Malloc1  # "Malloc1" is block device name from previous
  Dev 1 Malloc2
"""
    with Daemon(tmp_path, ["--strict"], config):
        assert sockets(tmp_path) == ["vhost-rpc.sock", "vhost.0", "vhost.1"]
        scsi, blk = ctl_json(tmp_path, "controllers")
        targets = scsi["backend_specific"]["scsi"]
        assert [t["luns"][0]["bdev_name"] for t in targets] == ["Malloc1", "Malloc2"]
        assert blk["backend_specific"]["block"]["bdev"] == "Malloc0"


def test_the_example_works_as_it_is(tmp_path: Path) -> None:
    with Daemon(tmp_path, ["--strict", "-c", str(ROOT / "target/etc/vhost.conf.in")]):
        assert sockets(tmp_path) == ["vhost-rpc.sock", "vhost.0", "vhost.1"]


def test_every_key_is_documented() -> None:
    table = (ROOT / "target/lib/config/schema_table.c").read_text()
    keys = set(re.findall(r'\b(?:TEXT|BOOL|MASK|NUMBER|WORDS|NOT_YET)\("(\w+)"', table))
    assert len(keys) > 20
    # These three belong to sections of earlier programs, which are described as wholes.
    keys -= {"Whitelist", "Enable", "Disable"}
    example = (ROOT / "target/etc/vhost.conf.in").read_text()
    manual = (ROOT / "docs/man/vhost.conf.5").read_text()
    for key in keys:
        assert re.search(rf"\b{key}\b", example), f"{key} is not in vhost.conf.in"
        assert re.search(rf"\.It Ic .*\b{key}\b", manual), f"{key} is not in vhost.conf.5"


def test_aio_files(tmp_path: Path) -> None:
    (tmp_path / "disk one").write_bytes(bytes(1 << 20))
    config = '[AIO]\nAIO "disk one" A 4096\n[VhostBlk0]\nName b\nDev A\nReadOnly yes\n'
    with Daemon(tmp_path, config=config):
        (bdev,) = ctl_json(tmp_path, "bdevs")
        assert (bdev["driver"], bdev["num_blocks"], bdev["block_size"]) == ("aio", 256, 4096)


def test_a_file_that_was_cut_off(tmp_path: Path) -> None:
    """After whichever line a real file ends, what is wrong behind it is found, nothing served."""
    whole = (ROOT / "target/etc/vhost.conf.in").read_bytes()
    for end in range(0, len(whole), len(whole) // 12):
        kept = whole[: whole.rfind(b"\n", 0, end) + 1]
        (tmp_path / "vhost.conf").write_bytes(kept + b"[Nonsense]\n")
        done = run(["-q", "-c", "vhost.conf"], tmp_path)
        assert done.returncode == 1
        # The cut may lie in a section header, which is the first mistake then.
        mistakes = ("unknown section [Nonsense]", "has no closing ']'")
        assert any(mistake in done.stderr for mistake in mistakes)
