# SPDX-License-Identifier: BSD-3-Clause
"""The kind ``debian``: a whole Debian on a disk, made of packages by mmdebstrap."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vhostlab.errors import HarnessError, Unavailable
from vhostlab.images import disk
from vhostlab.images.packages import source_line
from vhostlab.images.progress import Progress
from vhostlab.images.recipe import DebianRecipe
from vhostlab.process import find_program, output_of

BUILD_TIMEOUT_S = 1800.0
ESP_MIB = 16

#: Where the build writes down its packages; taken out again before the disk is made.
_LIST = "vhostlab-packages"


@dataclass(frozen=True)
class Installed:
    """A package of the image."""

    name: str
    version: str
    sha256: str


class DebianBuilder:
    """Makes the image of one recipe."""

    def __init__(self, recipe: DebianRecipe, work: Path, progress: Progress) -> None:
        self._recipe = recipe
        self._work = work
        self._progress = progress
        self._tar = work / "root.tar"
        self._packages: tuple[Installed, ...] = ()

    async def identity(self) -> str:
        """The id, from the packages that were installed."""
        self._progress.step(f"installing Debian {self._recipe.suite} (about a minute)")
        await self._install()
        self._packages = parse_packages(_member(self._tar, _LIST).decode())
        digest = hashlib.sha256(self._recipe.digest.encode())
        for package in self._packages:
            digest.update(f"{package.name} {package.version} {package.sha256}\n".encode())
        return digest.hexdigest()[:16]

    async def fill(self, new: Path) -> dict[str, Any]:
        """Write kernel, initrd and disk."""
        self._progress.step("making the disk")
        layout = disk.Layout(self._recipe.name, ESP_MIB, self._recipe.disk_mib)
        version = _kernel_version(self._tar)
        cmdline = f"root=UUID={layout.root_uuid} rw {self._recipe.cmdline}"
        (new / "kernel").write_bytes(_member(self._tar, f"boot/vmlinuz-{version}"))
        (new / "initrd").write_bytes(_member(self._tar, f"boot/initrd.img-{version}"))
        menu = disk.grub_menu(
            f"/boot/vmlinuz-{version}", f"/boot/initrd.img-{version}", cmdline, layout.root_uuid
        )
        raw = self._work / "disk.raw"
        await disk.make(raw, layout, {"grub/grub.cfg": menu}, self.tree_script())
        await disk.to_qcow2(raw, new / "disk.qcow2")
        return {
            "suite": self._recipe.suite,
            "architecture": self._recipe.architecture,
            "kernel_version": version,
            "cmdline": cmdline,
            "packages": {
                p.name: {"version": p.version, "sha256": p.sha256} for p in self._packages
            },
        }

    def tree_script(self) -> str:
        """Shell commands that put the files of the root into ``tree``."""
        seeds = self._work / "seeds"
        shutil.rmtree(seeds, ignore_errors=True)
        for seed in self._recipe.seeds:
            path = seeds / seed.path.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(seed.data)
            path.chmod(0o755 if seed.executable else 0o644)
        lines = [
            f"tar --numeric-owner --exclude='./dev/*' --exclude=./{_LIST} -C tree "
            f"-xf {shlex.quote(str(self._tar))}",
            f"cp -r --preserve=mode {shlex.quote(str(seeds))}/. tree/",
        ]
        lines += [
            f"ln -sf /dev/null tree/etc/systemd/system/{shlex.quote(unit)}"
            for unit in self._recipe.masked
        ]
        return "\n".join(lines)

    async def _install(self) -> None:
        program = find_program("mmdebstrap", "install mmdebstrap")
        # Without apt's lists, which are dropped at the end, nobody knows the checksums.
        know = (
            'APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-cache show --no-all-versions '
            "$(dpkg-query --admindir=\"$1\"/var/lib/dpkg -W -f '${Package}=${Version}\\n') "
            f'> "$1"/{_LIST}'
        )
        words = [program, "--variant=minbase", "--format=tar", "--quiet"]
        words += [f"--architectures={self._recipe.architecture}"]
        words += [f"--include={','.join(self._recipe.install)}"]
        words += [f"--customize-hook={know}", '--customize-hook=chroot "$1" passwd -d root']
        words += [self._recipe.suite, str(self._tar), source_line(self._recipe.suite)]
        environment = {**disk.ENVIRONMENT, "TMPDIR": str(self._work)}
        if os.geteuid() != 0:
            # A user namespace may not enter directories of the user that nobody else may.
            environment.pop("TMPDIR")
        try:
            await output_of(words, BUILD_TIMEOUT_S, env=environment)
        except HarnessError as error:
            raise Unavailable(
                f"cannot make the {self._recipe.name} guest: {error.message}",
                "check the network and apt's sources; mmdebstrap needs root or user namespaces",
            ) from error


def parse_packages(text: str) -> tuple[Installed, ...]:
    """Packages from what ``apt-cache show`` says about them, sorted."""
    found = []
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        fields = dict(re.findall(r"^(Package|Version|SHA256): (\S+)", paragraph, re.MULTILINE))
        if len(fields) != 3:
            raise HarnessError("apt does not know the checksums of all packages of the build")
        found.append(Installed(fields["Package"], fields["Version"], fields["SHA256"]))
    return tuple(sorted(set(found), key=lambda package: (package.name, package.version)))


def _kernel_version(tar: Path) -> str:
    with tarfile.open(tar) as archive:
        names = [m.name for m in archive if m.isfile() and "/boot/vmlinuz-" in f"/{m.name}"]
    if len(names) != 1:
        raise HarnessError(f"expected one kernel among the packages, found {len(names)}")
    return names[0].rpartition("vmlinuz-")[2]


def _member(tar: Path, path: str) -> bytes:
    """A file of the archive."""
    with tarfile.open(tar) as archive:
        for member in archive:
            if member.isfile() and member.name.removeprefix("./") == path:
                content = archive.extractfile(member)
                return content.read() if content else b""
    raise HarnessError(f"the installed system has no /{path}")
