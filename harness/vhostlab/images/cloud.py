# SPDX-License-Identifier: BSD-3-Clause
"""The kind ``cloud``: a distribution's cloud image, seeded once and then used like any other.

The image is accepted when its SHA-256 stands in the distribution's checksum file and the key that
the recipe names has signed that. Its first boot installs the guest agent and fio by cloud-init.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vhostlab.errors import HarnessError, Unavailable
from vhostlab.images import download, iso
from vhostlab.images.image import digest
from vhostlab.images.packages import PackageSource, Wanted
from vhostlab.images.progress import Progress
from vhostlab.images.recipe import CloudRecipe
from vhostlab.images.seed import SEED_FAILED, SEEDED, nocloud
from vhostlab.images.signature import checksum_of, signed_text
from vhostlab.images.tree import FileTree
from vhostlab.process import find_program, output_of
from vhostlab.qemu.install import Milestone, install

KEYRING_VARIABLE = "VHOSTLAB_KEYRING"
"""Names a keyring to use instead of the distribution's."""

KEYRING_SUITE = "trixie"
"""Of the Debian package that has the keyring, where it is not installed."""

SEED_TIMEOUT_S = 3600.0
"""Under TCG; it installs packages."""

MILESTONES = (
    Milestone("kernel", r"Linux version"),
    Milestone("systemd", r"Welcome to (?!GRUB).+!"),
    Milestone("cloud-init", r"[Cc]loud-init v\."),
    Milestone("seeded", SEEDED),
)


@dataclass(frozen=True)
class Verified:
    """An image that its distribution vouches for."""

    path: Path
    sha256: str


class CloudBuilder:
    """Makes the image of one recipe."""

    def __init__(self, recipe: CloudRecipe, cache: Path, work: Path, progress: Progress) -> None:
        self._recipe = recipe
        self._cache = cache
        self._work = work
        self._progress = progress
        self._sha256 = ""

    async def identity(self) -> str:
        """The id, from the checksum that the distribution has signed."""
        self._progress.step("fetching the checksums")
        self._sha256 = await self.wanted()
        return hashlib.sha256(f"{self._recipe.digest}\n{self._sha256}\n".encode()).hexdigest()[:16]

    async def fill(self, new: Path) -> dict[str, Any]:
        """Fetch, check and seed the image."""
        image = await self.fetch(self._sha256)
        disk = new / "disk.qcow2"
        await self._copy(image.path, disk)
        seed = self._work / "seed.iso"
        iso.write(seed, "cidata", nocloud(self._recipe.name, self._recipe.packages))
        self._progress.step("first boot: cloud-init installs the guest agent and fio")
        await install(
            disk,
            (seed,),
            MILESTONES,
            self._progress,
            self._work,
            failure=SEED_FAILED,
            firmware=self._recipe.firmware,
            memory_mib=max(1024, self._recipe.memory_mib),
            timeout_s=SEED_TIMEOUT_S,
            network=True,
        )
        return {
            "cmdline": "",
            "firmware": self._recipe.firmware,
            "kernel_version": None,
            "source": self._recipe.url,
            "source_sha256": self._sha256,
            "signed_by": self._recipe.fingerprint,
            "packages": {},
        }

    async def wanted(self) -> str:
        """The SHA-256 of the image, signed. Without a network: as it was the last time."""
        recipe = self._recipe
        urls = [recipe.checksums, *([recipe.signature] if recipe.signature else [])]
        files = [self._kept(url) for url in urls]
        if not download.offline():
            for url, file in zip(urls, files, strict=True):
                where = download.address(url, recipe.name)
                content = await asyncio.to_thread(download.small, where)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
        missing = next((file for file in files if not file.exists()), None)
        if missing is not None:
            raise Unavailable(
                f"guest {recipe.name} was never fetched, and this run is to fetch nothing",
                f"unset {download.OFFLINE_VARIABLE}",
            )
        signature = files[1].read_bytes() if recipe.signature else None
        checksums = files[0].read_bytes()
        ring = await self._keyring()
        text = signed_text(checksums, signature, ring, recipe.fingerprint, recipe.checksums)
        return checksum_of(text, _name(recipe.url), recipe.checksums)

    async def fetch(self, sha256: str) -> Verified:
        """The image with that checksum, out of the cache or from its address."""
        path = self._cache / "downloads" / f"{sha256}-{_name(self._recipe.url)}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            where = download.address(self._recipe.url, self._recipe.name)
            self._progress.step(f"fetching {_name(self._recipe.url)}")
            await asyncio.to_thread(download.large, where, path, self._progress)
        self._progress.step("comparing its checksum")
        got = await asyncio.to_thread(digest, path)
        if got != sha256:
            download.forget(path)
            raise HarnessError(
                f"{_name(self._recipe.url)} has the checksum {got}, its distribution says {sha256}",
                "it was dropped; if that happens again, the mirror is not to be trusted",
            )
        return Verified(path, sha256)

    async def _copy(self, source: Path, disk: Path) -> None:
        program = find_program("qemu-img", "install qemu-utils (Debian) or qemu-img")
        await output_of([program, "convert", "-O", "qcow2", str(source), str(disk)], 900.0)
        size = f"{self._recipe.disk_mib}M"
        await output_of([program, "resize", "-q", "-f", "qcow2", str(disk), size], 60.0)

    async def _keyring(self) -> Path:
        """The keyring: named by the user, installed, or out of a Debian package."""
        recipe = self._recipe
        if here := _keyring_here(recipe.keyring):
            return here
        kept = self._cache / "downloads" / recipe.name / "keyring"
        if not kept.exists() and not download.offline():
            what = f"the keyring of {recipe.name}"
            package = (recipe.keyring_package,)
            wanted = Wanted(what, KEYRING_SUITE, "amd64", package, ())
            tree = FileTree(kept=("/usr/share/",))
            for found in await PackageSource(wanted, self._cache).fetch():
                await tree.add_package(found.path)
            kept.write_bytes(tree.read(recipe.keyring))
        if not kept.exists():
            raise Unavailable(
                f"the keyring of {recipe.name} is not here: {recipe.keyring}",
                f"install {recipe.keyring_package} (Debian), or name one in {KEYRING_VARIABLE}",
            )
        return kept

    def _kept(self, url: str) -> Path:
        return self._cache / "downloads" / self._recipe.name / _name(url)


def _keyring_here(installed: str) -> Path | None:
    named = os.environ.get(KEYRING_VARIABLE)
    path = Path(named or installed)
    if path.is_file():
        return path
    if named:
        raise Unavailable(f"{KEYRING_VARIABLE} names no file: {named}")
    return None


def _name(url: str) -> str:
    return url.rpartition("/")[2]
