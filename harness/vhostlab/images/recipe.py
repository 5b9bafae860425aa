# SPDX-License-Identifier: BSD-3-Clause
"""Recipes of guest images, by kind, and where they lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vhostlab.errors import HarnessError
from vhostlab.images.reader import Reader, SeedFile
from vhostlab.paths import source_dir

FORMAT = 2
"""Part of every image's id: raised when a builder makes something else of the same recipe."""

DEFAULT_GUEST = "micro"

KINDS = ("micro", "debian", "cloud", "windows")


@dataclass(frozen=True)
class Common:
    """What every recipe says."""

    path: Path
    name: str
    kind: str
    summary: str
    memory_mib: int
    """The least that the guest is given."""
    tcg_qemu: str
    """The oldest QEMU on which it runs well without KVM; empty: any."""
    digest: str


@dataclass(frozen=True)
class MicroRecipe(Common):
    """A kernel and an initramfs made of packages."""

    suite: str
    architecture: str
    install: tuple[str, ...]
    follow: tuple[str, ...]
    boot_modules: tuple[str, ...]
    modules: tuple[str, ...]
    cmdline: str
    busybox: str
    programs: tuple[str, ...]
    files: tuple[str, ...]
    links: dict[str, str]
    seeds: tuple[SeedFile, ...]


@dataclass(frozen=True)
class DebianRecipe(Common):
    """A whole Debian on a disk, made of packages."""

    suite: str
    architecture: str
    install: tuple[str, ...]
    cmdline: str
    masked: tuple[str, ...]
    """systemd units that are never started."""
    disk_mib: int
    seeds: tuple[SeedFile, ...]


@dataclass(frozen=True)
class CloudRecipe(Common):
    """A distribution's cloud image."""

    url: str
    checksums: str
    signature: str
    """Of the checksums; empty: it is around them, in the same file."""
    fingerprint: str
    keyring: str
    keyring_package: str
    """The Debian package that has it."""
    firmware: str
    packages: tuple[str, ...]
    disk_mib: int


@dataclass(frozen=True)
class WindowsRecipe(Common):
    """Windows, from the user's installation disc."""

    labels: tuple[str, ...]
    least_mib: int
    most_mib: int
    edition: str
    drivers: str
    firmware: str
    disk_mib: int


Recipe = MicroRecipe | DebianRecipe | CloudRecipe | WindowsRecipe


def directory() -> Path:
    """Where the project's own recipes are."""
    return source_dir() / "vm-images"


def micro_recipe() -> Path:
    """The recipe of the default guest."""
    return recipe_path(DEFAULT_GUEST)


def names() -> tuple[str, ...]:
    """All guests that there is a recipe for."""
    return tuple(sorted(path.stem for path in directory().glob("*.toml")))


def recipe_path(name: str) -> Path:
    """The recipe of a guest: by name, or by path for one of somebody else's."""
    path = Path(name) if name.endswith(".toml") else directory() / f"{name}.toml"
    if not path.is_file():
        raise HarnessError(f"no guest image is called '{name}'", f"there is {', '.join(names())}")
    return path


def load(path: Path) -> Recipe:
    """Read a recipe and its seed files."""
    read = Reader(path)
    kind = read.choice("kind", of=KINDS)
    match kind:
        case "micro":
            return _micro(read)
        case "debian":
            return _debian(read)
        case "cloud":
            return _cloud(read)
    return _windows(read)


def _common(read: Reader) -> dict[str, object]:
    return {
        "path": read.path,
        "name": read.text("name"),
        "kind": read.text("kind"),
        "summary": read.text("summary"),
        "memory_mib": read.number("guest", "memory_mib", default=512),
        "tcg_qemu": read.text("guest", "tcg_qemu", default=""),
    }


def _micro(read: Reader) -> MicroRecipe:
    values = _common(read) | {
        "suite": read.text("packages", "suite"),
        "architecture": read.text("packages", "architecture"),
        "install": read.texts("packages", "install"),
        "follow": read.texts("packages", "follow"),
        "boot_modules": read.texts("kernel", "boot_modules"),
        "modules": read.texts("kernel", "modules"),
        "cmdline": " ".join(read.texts("kernel", "cmdline")),
        "busybox": read.text("initramfs", "busybox"),
        "programs": read.texts("initramfs", "programs"),
        "files": read.texts("initramfs", "files"),
        "links": read.links("initramfs", "links"),
        "seeds": read.seeds("initramfs", "seed"),
    }
    return MicroRecipe(**values, digest=read.finish(FORMAT))  # type: ignore[arg-type]


def _debian(read: Reader) -> DebianRecipe:
    values = _common(read) | {
        "suite": read.text("packages", "suite"),
        "architecture": read.text("packages", "architecture"),
        "install": read.texts("packages", "install"),
        "cmdline": " ".join(read.texts("kernel", "cmdline")),
        "masked": read.texts("system", "masked"),
        "disk_mib": read.number("disk", "size_mib"),
        "seeds": read.seeds("system", "seed"),
    }
    return DebianRecipe(**values, digest=read.finish(FORMAT))  # type: ignore[arg-type]


def _cloud(read: Reader) -> CloudRecipe:
    values = _common(read) | {
        "url": read.text("image", "url"),
        "checksums": read.text("image", "checksums"),
        "signature": read.text("image", "signature", default=""),
        "fingerprint": read.text("signer", "fingerprint").replace(" ", "").upper(),
        "keyring": read.text("signer", "keyring"),
        "keyring_package": read.text("signer", "package"),
        "firmware": read.choice("guest", "firmware", of=("bios", "uefi"), default="bios"),
        "packages": read.texts("seed", "packages"),
        "disk_mib": read.number("disk", "size_mib"),
    }
    return CloudRecipe(**values, digest=read.finish(FORMAT))  # type: ignore[arg-type]


def _windows(read: Reader) -> WindowsRecipe:
    values = _common(read) | {
        "labels": read.texts("media", "labels"),
        "least_mib": read.number("media", "least_mib"),
        "most_mib": read.number("media", "most_mib"),
        "edition": read.text("windows", "edition"),
        "drivers": read.text("windows", "drivers"),
        "firmware": read.choice("guest", "firmware", of=("bios", "uefi")),
        "disk_mib": read.number("disk", "size_mib"),
    }
    return WindowsRecipe(**values, digest=read.finish(FORMAT))  # type: ignore[arg-type]
