# SPDX-License-Identifier: BSD-3-Clause
"""VMs that prepare a disk and power themselves off; GRUB plays the installer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from vhostlab.errors import HarnessError, MilestoneTimeout
from vhostlab.images import disk, iso
from vhostlab.qemu.install import Milestone, install

pytestmark = pytest.mark.vm

MILESTONES = (Milestone("begun", "test: begun"), Milestone("done", "test: done"))


class Heard:
    def __init__(self) -> None:
        self.amounts: list[tuple[int, int]] = []

    def step(self, text: str) -> None:
        return

    def amount(self, done: int, total: int) -> None:
        self.amounts.append((done, total))


def run(
    where: Path,
    lines: Sequence[str],
    monkeypatch: pytest.MonkeyPatch,
    *,
    firmware: str = "bios",
    timeout_s: float = 120.0,
) -> Heard:
    """A disk whose boot loader says these lines and powers off."""
    monkeypatch.setenv("VHOSTLAB_ACCEL", "tcg")
    menu = ["serial --unit=0 --speed=115200", "terminal_output serial"]
    menu += [line if line == "halt" else f"echo '{line}'" for line in lines]
    raw, image, heard = where / "x.raw", where / "x.qcow2", Heard()
    iso.write(where / "disc.iso", "cidata", {"user-data": b"#cloud-config\n"})

    async def go() -> None:
        content: dict[str, bytes | Path] = {"grub/grub.cfg": ("\n".join(menu) + "\n").encode()}
        await disk.make(raw, disk.Layout("installer", 12), content)
        await disk.to_qcow2(raw, image)
        await install(
            image,
            (where / "disc.iso",),
            MILESTONES,
            heard,
            where,
            failure="test: failed",
            firmware=firmware,
            memory_mib=256,
            timeout_s=timeout_s,
            network=True,
            press_key=firmware == "uefi",
            drives=firmware == "uefi",
        )

    asyncio.run(go())
    return heard


@pytest.mark.parametrize("firmware", ["bios", "uefi"])
def test_it_ends_when_all_was_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, firmware: str
) -> None:
    said = ["test: begun", "test: done", "halt"]
    heard = run(tmp_path, said, monkeypatch, firmware=firmware)
    assert heard.amounts[-1] == (2, 2)


def test_power_off_too_early_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(HarnessError, match="without saying 'done'"):
        run(tmp_path, ["test: begun", "halt"], monkeypatch)


def test_a_failure_ends_it_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(HarnessError, match="could not be prepared: test: failed, no room"):
        run(tmp_path, ["test: begun", "test: failed, no room"], monkeypatch)


def test_the_deadline_shows_what_was_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MilestoneTimeout, match="end of the preparation"):
        run(tmp_path, ["test: begun"], monkeypatch, timeout_s=1.0)
