# SPDX-License-Identifier: BSD-3-Clause
"""A guest image in the cache: a directory with its files and what is known about them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vhostlab.errors import HarnessError

MANIFEST = "manifest.json"

MICRO_STAGES: Mapping[str, float] = {"firmware": 30, "kernel": 30, "init": 60, "agent": 60}
"""How long after the stage before it each stage of a boot may come; TCG on a busy machine fits."""

DISK_STAGES: Mapping[str, float] = {"firmware": 60, "kernel": 90, "init": 180, "agent": 400}
"""The same for whole distributions."""

ANSWER = "answer"
"""Not a stage of the console: the guest agent answers."""

OTHER_STAGES: Mapping[str, float] = {ANSWER: 1800}
"""The same where nothing is known of what the guest says on its way."""


@dataclass(frozen=True)
class Image:
    """A guest image that is ready to boot.

    ``kernel`` and ``initrd`` are what QEMU loads itself; without them its firmware boots ``disk``.
    Guests never change ``disk``: what they write goes to an overlay that ends with them.
    """

    name: str
    id: str
    kernel: Path | None
    initrd: Path | None
    cmdline: str
    manifest: dict[str, Any]
    disk: Path | None = None
    directory: Path = Path()
    firmware: str = "bios"
    memory_mib: int = 512
    tcg_qemu: str = ""
    devices: tuple[str, ...] = ()
    """Words of QEMU's command line for devices that this guest wants beside those of all."""
    stages: Mapping[str, float] = field(default_factory=lambda: MICRO_STAGES)


def load(directory: Path) -> Image:
    """Read an image; OSError, ValueError, KeyError when it is not whole."""
    manifest = json.loads((directory / MANIFEST).read_text())
    sizes = manifest["sizes"]
    for name, size in sizes.items():
        if (directory / name).stat().st_size != size:
            raise OSError(f"{directory / name} is not whole")

    def path(name: str) -> Path | None:
        return directory / name if name in sizes else None

    stages = {"micro": MICRO_STAGES, "windows": OTHER_STAGES}.get(manifest["kind"], DISK_STAGES)
    return Image(
        name=manifest["name"],
        id=manifest["id"],
        kernel=path("kernel"),
        initrd=path("initrd"),
        cmdline=manifest["cmdline"],
        manifest=manifest,
        disk=path("disk.qcow2"),
        directory=directory,
        firmware=manifest["firmware"],
        memory_mib=manifest["memory_mib"],
        tcg_qemu=manifest["tcg_qemu"],
        devices=tuple(manifest.get("devices", ())),
        stages=stages,
    )


def describe(directory: Path) -> dict[str, Any]:
    """Sizes and checksums of the files of a new image, for its manifest."""
    files = sorted(path for path in directory.iterdir() if path.name != MANIFEST)
    return {
        "sizes": {path.name: path.stat().st_size for path in files},
        "sha256": {path.name: digest(path) for path in files},
    }


def verify(image_dir: Path) -> list[str]:
    """What is wrong with the files of an image; nothing: they are what was built."""
    try:
        manifest = json.loads((image_dir / MANIFEST).read_text())
        wanted: dict[str, str] = manifest["sha256"]
    except (OSError, ValueError, KeyError) as error:
        return [f"{image_dir / MANIFEST} cannot be read: {error}"]
    wrong = []
    for name, sha256 in sorted(wanted.items()):
        try:
            if digest(image_dir / name) != sha256:
                wrong.append(f"{image_dir / name} has changed since it was built")
        except HarnessError as error:
            wrong.append(error.message)
    return wrong


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise HarnessError(f"cannot read {path}: {error.strerror}") from error
