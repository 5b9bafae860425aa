# SPDX-License-Identifier: BSD-3-Clause
"""A small bootable disk: GRUB for BIOS and UEFI, kernel and initramfs of a micro guest."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from vhostlab import paths
from vhostlab.errors import HarnessError
from vhostlab.images import disk
from vhostlab.images.image import Image
from vhostlab.images.lock import locked
from vhostlab.process import find_program, output_of

FORMAT = 2
MARKER = "vhostlab.booted_from_disk=1"
"""On the kernel's command line when GRUB of such a disk has started it."""


async def boot_disk(image: Image, cache_dir: Path | None = None) -> Path:
    """The raw disk that boots ``image``, out of the cache or newly made. Nobody may write to it."""
    if image.kernel is None or image.initrd is None:
        raise HarnessError(f"guest {image.name} has no kernel that a small disk could hold")
    root = (cache_dir or paths.cache_dir()) / "boot-disks"
    root.mkdir(parents=True, exist_ok=True)
    key = f"{FORMAT} {disk.EPOCH} {image.id} {sorted(image.manifest['sha256'].items())}"
    final = root / f"{image.name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.raw"
    async with locked(root / "lock", "the making of a boot disk"):
        if not final.exists():
            with tempfile.TemporaryDirectory(prefix=".new-", dir=root) as work:
                new = Path(work) / "disk.raw"
                await _make(new, image, image.kernel, image.initrd)
                new.rename(final)
    return final


async def _pack(initrd: Path, packed: Path) -> None:
    """Firmware reads by small requests, so less is faster, although the kernel has to unpack it."""
    zstd = find_program("zstd", "install zstd")
    await output_of([zstd, "-q", "-10", "--single-thread", str(initrd), "-o", str(packed)], 300.0)


async def _make(new: Path, image: Image, kernel: Path, initrd: Path) -> None:
    packed = new.with_name("initrd")
    await _pack(initrd, packed)
    content = _size(kernel) + _size(packed)
    # For the loader, the file system's own tables, and clusters that are not full.
    esp_mib = content // disk.MIB + 8
    layout = disk.Layout(f"boot disk of {image.name}", esp_mib)
    menu = disk.grub_menu("/kernel", "/initrd", f"{image.cmdline} {MARKER}")
    files: dict[str, bytes | Path] = {"grub/grub.cfg": menu, "kernel": kernel, "initrd": packed}
    await disk.make(new, layout, files)


def _size(path: Path) -> int:
    return path.stat().st_size
