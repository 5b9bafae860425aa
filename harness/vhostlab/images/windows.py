# SPDX-License-Identifier: BSD-3-Clause
"""The kind ``windows``: installed from the user's own disc, which nobody may hand on."""

from __future__ import annotations

import asyncio
import fnmatch
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from vhostlab.errors import HarnessError, Unavailable
from vhostlab.images import autounattend, iso
from vhostlab.images.autounattend import Answers, answer_disc
from vhostlab.images.image import digest
from vhostlab.images.progress import Progress
from vhostlab.images.recipe import WindowsRecipe
from vhostlab.process import find_program, output_of
from vhostlab.qemu.install import Milestone, install

PASSWORD_VARIABLE = "VHOSTLAB_WINDOWS_PASSWORD"
"""Of the guest's Administrator, who can be reached on its console only."""

INSTALL_TIMEOUT_S = 3 * 3600.0

MILESTONES = (
    Milestone("setup has started", autounattend.STARTED),
    Milestone("Windows was copied", autounattend.COPIED),
    Milestone("first logon", autounattend.LOGON),
    Milestone("installed", autounattend.INSTALLED),
)

MIB = 1024 * 1024

DEVICES = ("-device", "VGA", "-rtc", "base=utc")
"""What Windows wants beside the devices of every guest."""


@dataclass(frozen=True)
class Media:
    """What the user has given."""

    iso: Path | None = None
    iso_sha256: str = ""
    virtio_win: Path | None = None
    tools: tuple[Path, ...] = ()
    """fio's .msi, diskspd.exe."""
    product_key: str = ""
    firmware: str = ""


class WindowsBuilder:
    """Makes the image of one recipe."""

    def __init__(self, recipe: WindowsRecipe, media: Media, work: Path, progress: Progress) -> None:
        self._recipe = recipe
        self._media = media
        self._work = work
        self._progress = progress
        self._sha256: dict[str, str] = {}
        firmware = media.firmware or recipe.firmware
        self._firmware = cast(Literal["bios", "uefi"], firmware)

    async def identity(self) -> str:
        """The id, from the recipe and all that the user has given."""
        disc, drivers = self.discs()
        self._progress.step("reading the discs")
        for path in (disc, drivers, *self._media.tools):
            self._sha256[path.name] = await asyncio.to_thread(digest, path)
        recognise(self._recipe, self._media, self._sha256[disc.name])
        words = [self._recipe.digest, self._firmware, self._media.product_key]
        words += sorted(self._sha256.values())
        return hashlib.sha256("\n".join(words).encode()).hexdigest()[:16]

    async def fill(self, new: Path) -> dict[str, Any]:
        """Install Windows on a new disk."""
        disc, drivers = self.discs()
        disk = new / "disk.qcow2"
        program = find_program("qemu-img", "install qemu-utils (Debian) or qemu-img")
        size = f"{self._recipe.disk_mib}M"
        await output_of([program, "create", "-q", "-f", "qcow2", str(disk), size], 60.0)
        answers = self._work / "answers.iso"
        iso.write(answers, "VHOSTLAB", self.answers())
        self._progress.step("Windows Setup (an hour, without KVM many)")
        await install(
            disk,
            (disc, drivers, answers),
            MILESTONES,
            self._progress,
            self._work,
            failure=autounattend.FAILED,
            firmware=self._firmware,
            memory_mib=self._recipe.memory_mib,
            timeout_s=INSTALL_TIMEOUT_S,
            press_key=self._firmware == "uefi",
            drives=True,
            extra=DEVICES,
        )
        return {
            "cmdline": "",
            "firmware": self._firmware,
            "kernel_version": None,
            "devices": list(DEVICES),
            "media": self._sha256,
            "packages": {},
        }

    def discs(self) -> tuple[Path, Path]:
        """The installation disc and the one with the drivers."""
        name = self._recipe.name
        found = []
        for path, option, what in (
            (self._media.iso, "--iso", f"the installation disc of {self._recipe.edition}"),
            (self._media.virtio_win, "--virtio-win", "the disc of virtio-win with the drivers"),
        ):
            if path is None:
                raise Unavailable(
                    f"guest {name} is made from {what}, which is yours to give",
                    f"vhostlab images build {name} {option} FILE.iso",
                )
            if not path.is_file():
                raise Unavailable(f"there is no file {path}", f"{option} is {what}")
            found.append(path)
        return found[0], found[1]

    def answers(self) -> dict[str, bytes]:
        """The files of the disc with the answers."""
        answers = Answers(
            edition=self._recipe.edition,
            firmware=self._firmware,
            drivers=self._recipe.drivers,
            password=os.environ.get(PASSWORD_VARIABLE, "vhostlab-1"),
            product_key=self._media.product_key,
        )
        return answer_disc(answers, _contents(self._media.tools))


def recognise(recipe: WindowsRecipe, media: Media, sha256: str) -> None:
    """Raise when the disc is not the one that the user says, or not one of this Windows."""
    assert media.iso is not None
    if media.iso_sha256:
        if sha256 != media.iso_sha256.lower():
            raise HarnessError(
                f"{media.iso} has the checksum {sha256}, not {media.iso_sha256}",
                "it is damaged, or not the disc that you mean",
            )
        return
    label, size = iso.label(media.iso), media.iso.stat().st_size // MIB
    fits = any(fnmatch.fnmatchcase(label, pattern) for pattern in recipe.labels)
    if not fits or not recipe.least_mib <= size <= recipe.most_mib:
        raise HarnessError(
            f"{media.iso} does not look like {recipe.edition}: label '{label}', {size} MiB",
            "if it is, say so by its checksum: --iso-sha256",
        )


def _contents(tools: Sequence[Path]) -> dict[str, bytes]:
    try:
        return {path.name: path.read_bytes() for path in tools}
    except OSError as error:
        raise Unavailable(f"cannot read the tool {error.filename}: {error.strerror}") from error
