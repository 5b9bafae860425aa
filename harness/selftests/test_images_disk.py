# SPDX-License-Identifier: BSD-3-Clause
"""images: bootable disks are the same bytes each time, and what other programs take them for."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from vhostlab.errors import HarnessError
from vhostlab.images import disk, ext4
from vhostlab.images.debian import DebianBuilder, parse_packages
from vhostlab.images.progress import Silent
from vhostlab.images.recipe import DebianRecipe, load, recipe_path

LAYOUT = disk.Layout("test", esp_mib=12, root_mib=24)
MENU = disk.grub_menu("/kernel", "/initrd", "quiet", LAYOUT.root_uuid)


def tool(*words: str) -> str:
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    found = shutil.which(words[0], path=path)
    assert found is not None, words[0]
    done = subprocess.run([found, *words[1:]], capture_output=True, text=True, check=True)
    return done.stdout


def tree(where: Path) -> Path:
    """Files of many sizes, links, an owner and times of its own."""
    (where / "etc" / "deep" / "deeper").mkdir(parents=True)
    for number in range(200):
        (where / "etc" / f"file-{number}").write_bytes(bytes([number]) * number * 97)
    (where / "etc" / "deep" / "hard").hardlink_to(where / "etc" / "file-7")
    (where / "etc" / "deep" / "soft").symlink_to("../file-8")
    (where / "etc" / "tool").write_text("#!/bin/sh\n")
    (where / "etc" / "tool").chmod(0o4755)
    os.utime(where / "etc" / "file-9", (1_000_000_000, 1_000_000_001))
    return where


def make(out: Path, source: Path) -> bytes:
    script = f"cp -a {shlex.quote(str(source))}/. tree/"
    asyncio.run(disk.make(out, LAYOUT, {"grub/grub.cfg": MENU, "kernel": b"code"}, script))
    return out.read_bytes()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes, bytes]:
    where = tmp_path_factory.mktemp("disk")
    source = tree(where / "source")
    first = make(where / "one.raw", source)
    # reading a file, or changing its mode and back, leaves other times in the tree
    (source / "etc" / "file-11").read_bytes()
    (source / "etc" / "file-12").chmod(0o600)
    (source / "etc" / "file-12").chmod(0o644)
    return where / "one.raw", first, make(where / "two.raw", source)


def test_the_same_tree_gives_the_same_disk(built: tuple[Path, bytes, bytes]) -> None:
    _path, first, second = built
    assert first == second


def test_the_partitions_are_where_firmware_looks(built: tuple[Path, bytes, bytes]) -> None:
    table = json.loads(tool("sfdisk", "--json", str(built[0])))["partitiontable"]
    assert table["label"] == "gpt"
    assert [p["name"] for p in table["partitions"]] == ["bios", "esp", "root"]
    assert table["partitions"][1]["type"] == "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
    assert "No errors detected" in tool("sfdisk", "--verify", str(built[0]))
    # the boot sector loads the core from the BIOS partition, and that loads what follows it
    assert built[1][510:512] == b"\x55\xaa"
    start = int.from_bytes(built[1][0x5C : 0x5C + 8], "little")
    assert start == table["partitions"][0]["start"]
    core = built[1][start * 512 :]
    assert int.from_bytes(core[0x1F4 : 0x1F4 + 8], "little") == start + 1
    sectors = int.from_bytes(core[0x1FC:0x1FE], "little")
    assert 0 < sectors < table["partitions"][0]["size"]


def test_the_system_partition_holds_grub(built: tuple[Path, bytes, bytes]) -> None:
    start = 2 * disk.MIB
    assert tool("mtype", "-i", f"{built[0]}@@{start}", "::/grub/grub.cfg").encode() == MENU
    listing = tool("mdir", "-/", "-b", "-i", f"{built[0]}@@{start}", "::/")
    assert "::/EFI/BOOT/BOOTX64.EFI" in listing.split()


def test_the_root_is_a_sound_file_system(built: tuple[Path, bytes, bytes], tmp_path: Path) -> None:
    root = tmp_path / "root.ext4"
    size = LAYOUT.root_mib * disk.MIB
    root.write_bytes(built[1][LAYOUT.root_start : LAYOUT.root_start + size])
    tool("e2fsck", "-fn", str(root))
    assert LAYOUT.root_uuid in tool("dumpe2fs", "-h", str(root))

    def stat(path: str) -> str:
        return tool("debugfs", "-R", f"stat {path}", str(root))

    assert "Mode:  04755" in stat("/etc/tool")
    assert "mtime: 0x3b9aca01" in stat("/etc/file-9")
    assert "ctime: 0x3b9aca01" in stat("/etc/file-9")
    # what is newer than the build is as old as the build
    assert f"mtime: 0x{disk.EPOCH:08x}" in stat("/etc/file-10")
    copy = tmp_path / "copy"
    tool("debugfs", "-R", f"dump /etc/file-150 {copy}", str(root))
    assert copy.read_bytes() == bytes([150]) * 150 * 97


def test_times_are_only_settled_in_a_file_system(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(8192))
    with pytest.raises(HarnessError, match="no ext4"):
        ext4.settle_times(tmp_path / "x", 1024)


def test_a_core_that_is_too_big_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "_BIOS_SIZE", 4096)
    with pytest.raises(HarnessError, match="GRUB's core"):
        asyncio.run(disk.make(tmp_path / "d", disk.Layout("x", 12), {"grub/grub.cfg": MENU}))


def test_packages_come_with_their_checksums() -> None:
    said = (
        "Package: zlib1g\nVersion: 1:1.2\nSHA256: ff\n\n\nPackage: apt\nVersion: 2\nSHA256: aa\n"
        "Description: x\n Package: no\n"
    )
    assert [(p.name, p.version, p.sha256) for p in parse_packages(said)] == [
        ("apt", "2", "aa"),
        ("zlib1g", "1:1.2", "ff"),
    ]
    with pytest.raises(HarnessError, match="checksums"):
        parse_packages("Package: local\nVersion: 1\n")


@pytest.mark.parametrize("name", ["debian-12", "debian-13"])
def test_the_debian_recipes_are_sound(name: str, tmp_path: Path) -> None:
    recipe = load(recipe_path(name))
    assert isinstance(recipe, DebianRecipe)
    assert {"qemu-guest-agent", "fio", "udev"} <= set(recipe.install)
    assert "console=ttyS0,115200" in recipe.cmdline
    script = DebianBuilder(recipe, tmp_path, Silent()).tree_script()
    unit = "etc/systemd/system/qemu-guest-agent.service.d/vhostlab.conf"
    assert (tmp_path / "seeds" / unit).is_file()
    assert all(f"tree/etc/systemd/system/{unit}" in script for unit in recipe.masked)
