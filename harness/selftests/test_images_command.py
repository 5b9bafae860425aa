# SPDX-License-Identifier: BSD-3-Clause
"""``vhostlab images``, recipes that build on others, and which QEMU and firmware a guest gets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from vhostlab.cli import main
from vhostlab.errors import HarnessError, Unavailable
from vhostlab.images.image import DISK_STAGES, MANIFEST, Image, describe
from vhostlab.images.image import load as load_image
from vhostlab.images.recipe import MicroRecipe, load, recipe_path
from vhostlab.qemu import VhostBlk, VhostScsi, VmConfig, newer
from vhostlab.qemu.config import Channels, qemu_argv
from vhostlab.qemu.firmware import ovmf
from vhostlab.run import Request, parse_reference


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VHOSTLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(newer.VARIABLE, raising=False)
    return tmp_path / "cache"


def built(cache: Path, name: str = "debian-12", **extra: str) -> Path:
    """An image as a build leaves it, of files that nobody boots."""
    recipe = load(recipe_path(name))
    directory = cache / "images" / f"{name}-0123456789abcdef"
    directory.mkdir(parents=True)
    for file in ("kernel", "initrd", "disk.qcow2"):
        (directory / file).write_bytes(file.encode() * 100)
    manifest: Mapping[str, Any] = {
        "kind": recipe.kind,
        "name": name,
        "id": "0123456789abcdef",
        "cmdline": "root=/dev/x",
        "firmware": "bios",
        "memory_mib": 640,
        "tcg_qemu": recipe.tcg_qemu,
        "kernel_version": "6.1",
        **describe(directory),
        **extra,
    }
    (directory / MANIFEST).write_text(json.dumps(manifest))
    index = cache / "images" / "by-recipe"
    index.mkdir(exist_ok=True)
    (index / recipe.digest).write_text("0123456789abcdef\n")
    return directory


def said(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> Any:
    assert main(["images", *words, "--json"]) == status
    return json.loads(capsys.readouterr().out)


def test_list(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = built(cache)
    rows = {row["name"]: row for row in said(capsys, "list")}
    assert {"micro", "micro-6.12", "debian-13", "fedora-43", "windows-2022"} <= set(rows)
    assert rows["debian-12"]["built"] and rows["debian-12"]["directory"] == str(directory)
    assert not rows["micro"]["built"]
    assert main(["images", "list", "micro", "debian-12"]) == 0
    out = capsys.readouterr().out
    assert "0123456789abcdef" in out and "fedora" not in out


def test_build_takes_what_there_is(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    built(cache)
    (row,) = said(capsys, "build", "debian-12")
    assert row["id"] == "0123456789abcdef"


def test_verify(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "verify") == []
    assert said(capsys, "verify", "debian-12", status=1)[0]["ok"] is False
    directory = built(cache)
    assert said(capsys, "verify") == [{"name": "debian-12", "ok": True, "wrong": []}]
    disk = directory / "disk.qcow2"
    disk.write_bytes(disk.read_bytes()[:-1] + b"?")
    (row,) = said(capsys, "verify", status=1)
    assert "has changed" in row["wrong"][0]
    # one that is shorter is no image any more for whoever wants to boot it
    disk.write_bytes(b"")
    assert not said(capsys, "list", "debian-12")[0]["built"]
    assert "has changed" in said(capsys, "verify", status=1)[0]["wrong"][0]
    disk.unlink()
    assert "cannot read" in said(capsys, "verify", status=1)[0]["wrong"][0]


def test_a_name_that_nobody_knows(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["images", "build", "debian-11"]) == 2
    error = capsys.readouterr().err
    assert "no guest image is called 'debian-11'" in error and "debian-12" in error
    assert main(["images", "build", "micro", "--iso", "/x.iso"]) == 2
    assert "micro is not made from a disc" in capsys.readouterr().err
    assert main(["vmtest", "--guest", "nobody", "--scenario", "boot"]) == 2
    assert "'nobody'" in capsys.readouterr().err


def test_a_recipe_may_extend_another(tmp_path: Path) -> None:
    base, other = load(recipe_path("micro")), load(recipe_path("micro-6.12"))
    assert isinstance(base, MicroRecipe) and isinstance(other, MicroRecipe)
    assert base.cmdline == other.cmdline and base.programs == other.programs
    assert (base.suite, other.suite) == ("bookworm", "trixie")
    assert len({load(recipe_path(n)).digest for n in ("micro", "micro-6.1", "micro-7")}) == 3
    (tmp_path / "a.toml").write_text('extends = "b.toml"\n')
    (tmp_path / "b.toml").write_text('extends = "a.toml"\n')
    with pytest.raises(HarnessError, match="circle"):
        load(tmp_path / "a.toml")


def test_comments_do_not_make_another_image(tmp_path: Path) -> None:
    text = recipe_path("fedora-43").read_text()
    (tmp_path / "x.toml").write_text("# another comment\n" + text)
    assert load(tmp_path / "x.toml").digest == load(recipe_path("fedora-43")).digest


def test_the_guest_of_a_run_goes_through_the_runner() -> None:
    request = Request(scenarios=("boot",), guest="debian-12")
    assert request.command().endswith("--scenario boot --guest debian-12")
    again = parse_reference(request.reference(), request.environment())
    assert again == request
    assert "--guest" not in Request(scenarios=("boot",)).command()


def channels(tmp_path: Path) -> Channels:
    return Channels(3, 4, tmp_path / "console", tmp_path / "console.log")


def words(config: VmConfig, tmp_path: Path) -> str:
    return " ".join(qemu_argv(config, channels(tmp_path)))


def image(cache: Path, **extra: str) -> Image:
    return load_image(built(cache, **extra))


def test_a_guest_with_a_disk(cache: Path, tmp_path: Path) -> None:
    config = VmConfig(image(cache), "tcg", qemu=Path("/q"))
    assert config.image.stages == DISK_STAGES
    direct = words(config, tmp_path)
    assert f"-kernel {config.image.kernel}" in direct and "bootindex" not in direct
    # nobody writes to the image
    assert f"snapshot=on,file={config.image.disk}" in direct
    bios = words(replace(config, firmware="bios"), tmp_path)
    assert "-kernel" not in bios and "drive=root,bootindex=0" in bios and "pflash" not in bios
    uefi = words(replace(config, firmware="uefi"), tmp_path)
    assert uefi.count("if=pflash") == 2 and "unit=1,snapshot=on" in uefi


def test_a_guest_whose_kernel_nobody_knows(cache: Path, tmp_path: Path) -> None:
    wanted = replace(image(cache), kernel=None, initrd=None, firmware="uefi", devices=("-rtc", "x"))
    told = words(VmConfig(wanted, "tcg", qemu=Path("/q")), tmp_path)
    assert "-kernel" not in told and "pflash" in told and "-rtc x" in told


def test_there_may_be_no_uefi(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="ovmf"):
        ovmf(((str(tmp_path / "code"), str(tmp_path / "vars")),))


def fake_qemu(path: Path, version: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\necho "QEMU emulator version {version} (Debian)"\n')
    path.chmod(0o755)
    return path


def test_a_guest_that_needs_a_newer_qemu(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = fake_qemu(tmp_path / "bin" / newer.PROGRAM, "7.2.22")
    monkeypatch.setenv("PATH", f"{old.parent}:/usr/bin:/bin")
    wanted = image(cache, tcg_qemu="10.0")
    assert newer.program(replace(wanted, tcg_qemu=""), "tcg") == old
    assert newer.program(wanted, "kvm") == old
    with pytest.raises(Unavailable, match=r"needs QEMU 10\.0 or newer") as caught:
        newer.program(wanted, "tcg")
    assert "vhostlab images build debian-12" in str(caught.value)
    unpacked = fake_qemu(newer.unpacked(), "10.0.13")
    assert newer.program(wanted, "tcg") == unpacked
    fake_qemu(old, "11.1.3")
    assert newer.program(wanted, "tcg") == old
    monkeypatch.setenv(newer.VARIABLE, "/my/qemu")
    assert newer.program(wanted, "tcg") == Path("/my/qemu")


def test_queues_fit_into_the_areas_of_newer_qemus(tmp_path: Path) -> None:
    blk, scsi = VhostBlk(Path("/s")), VhostScsi(Path("/s"))
    old, new = fake_qemu(tmp_path / "old", "7.2.22"), fake_qemu(tmp_path / "new", "10.0.13")
    assert newer.fitted(blk, old) == blk
    assert newer.fitted(blk, new) == replace(blk, queue_size=1024)
    assert newer.fitted(scsi, new) == replace(scsi, queue_size=1024)
