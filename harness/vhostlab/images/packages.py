# SPDX-License-Identifier: BSD-3-Clause
"""Distribution packages fetched beside the host's own package management.

apt works here with a state of its own below the cache: nothing is installed, the host's package
database and /boot are untouched, and an ordinary user may do it. Signatures are checked by apt.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import platform
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from vhostlab.errors import HarnessError, Unavailable
from vhostlab.process import find_program, output_of

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
MIRROR_VARIABLE = "VHOSTLAB_DEBIAN_MIRROR"
UPDATE_TIMEOUT_S = 180.0
DOWNLOAD_TIMEOUT_S = 600.0


@dataclass(frozen=True)
class Wanted:
    """What to fetch: packages, and which of those that they depend on."""

    what: str
    """What it is for, for messages."""
    suite: str
    architecture: str
    install: tuple[str, ...]
    follow: tuple[str, ...]


@dataclass(frozen=True)
class Package:
    """One downloaded package."""

    name: str
    version: str
    sha256: str
    path: Path


class PackageSource:
    """A private apt for one suite and architecture."""

    def __init__(self, wanted: Wanted, cache: Path) -> None:
        hint = "install the packages apt and dpkg"
        self._apt = find_program("apt-get", hint)
        find_program("dpkg-deb", hint)
        self._wanted = wanted
        self._state = cache / "apt" / f"{wanted.suite}-{wanted.architecture}"
        self._archives = cache / "packages"
        self._options = self._private_options()

    async def fetch(self) -> tuple[Package, ...]:
        """Download what is wanted; files already there are kept."""
        await self._run(["update"], UPDATE_TIMEOUT_S)
        wanted = await self._resolve()
        missing = [
            f"{name}={version}"
            for name, version, file in wanted
            if not (self._archives / file).exists()
        ]
        if missing:
            await self._run(["download", *missing], DOWNLOAD_TIMEOUT_S)
        return tuple(
            Package(name, version, _sha256(self._archives / file), self._archives / file)
            for name, version, file in sorted(wanted)
        )

    async def _resolve(self) -> list[tuple[str, str, str]]:
        """(name, version, file name) of each package to take, as apt would install them."""
        words = ["--print-uris", "--yes", "--no-install-recommends", "install"]
        text = await self._run([*words, *self._wanted.install], UPDATE_TIMEOUT_S)
        found = []
        for line in text.splitlines():
            parts = line.split()
            if len(parts) < 3 or not line.startswith("'"):
                continue
            name, version, _architecture = parts[1].removesuffix(".deb").rsplit("_", 2)
            taken = name in self._wanted.install or any(
                fnmatch.fnmatchcase(name, pattern) for pattern in self._wanted.follow
            )
            if taken:
                found.append((name, unquote(version), parts[1]))
        return found

    async def _run(self, words: list[str], timeout_s: float) -> str:
        argv = [self._apt, "-q", *self._options, *words]
        # `apt-get download` writes to the current directory.
        script = f"cd {shlex.quote(str(self._archives))} && exec {shlex.join(argv)}"
        try:
            return await output_of(["sh", "-c", script], timeout_s, env={"LC_ALL": "C.UTF-8"})
        except HarnessError as error:
            raise Unavailable(
                f"cannot fetch the packages of {self._wanted.what}: {error.message}",
                "check the network and apt's sources, or name a mirror in " + MIRROR_VARIABLE,
            ) from error

    def _private_options(self) -> list[str]:
        lists = self._state / "lists"
        (lists / "partial").mkdir(parents=True, exist_ok=True)
        (self._state / "cache" / "archives" / "partial").mkdir(parents=True, exist_ok=True)
        self._archives.mkdir(parents=True, exist_ok=True)
        options = {
            "Dir::State": self._state,
            "Dir::State::lists": lists,
            "Dir::State::status": "/dev/null",
            "Dir::Cache": self._state / "cache",
            "APT::Architecture": self._wanted.architecture,
            "APT::Architectures": self._wanted.architecture,
            "APT::Sandbox::User": "root" if os.geteuid() == 0 else "",
            "APT::Update::Error-Mode": "any",
            "Acquire::Languages": "none",
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
            "Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled": "false",
        }
        if sources := self._own_sources():
            options["Dir::Etc::sourcelist"] = sources
            options["Dir::Etc::sourceparts"] = "/dev/null"
        return [f"-o{key}={value}" for key, value in options.items()]

    def _own_sources(self) -> Path | None:
        """A sources file for another suite or mirror; None: the host's sources will do."""
        if not os.environ.get(MIRROR_VARIABLE) and host_suite() == self._wanted.suite:
            return None
        path = self._state / "sources.list"
        path.write_text(source_line(self._wanted.suite) + "\n")
        return path


def host_suite() -> str:
    """The code name of the host's distribution release, or an empty string."""
    try:
        return platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    except OSError:
        return ""


def source_line(suite: str) -> str:
    """The line of a sources.list for a Debian suite: from the mirror in the environment, else from
    the one that the host's own apt is configured with.
    """
    if not KEYRING.exists():
        raise Unavailable(f"{KEYRING} is missing", "install debian-archive-keyring")
    return f"deb [signed-by={KEYRING}] {debian_mirror()} {suite} main"


def debian_mirror() -> str:
    """Where Debian packages come from."""
    if mirror := os.environ.get(MIRROR_VARIABLE):
        return mirror
    words = ["indextargets", "--format", "$(SITE)", "Origin: Debian", "Created-By: Packages"]
    apt = find_program("apt-get", "install the package apt")
    asked = subprocess.run([apt, *words], capture_output=True, text=True, check=False)
    # A site of security updates alone has no release to build from.
    sites = [line for line in asked.stdout.split() if not line.endswith("-security")]
    if not sites:
        raise Unavailable(
            "this host's apt knows no Debian archive",
            f"set {MIRROR_VARIABLE} to the URL of a Debian mirror, or run apt-get update",
        )
    return sites[0].rstrip("/")


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise HarnessError(f"apt did not deliver {path.name}: {error.strerror}") from error
