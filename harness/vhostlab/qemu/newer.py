# SPDX-License-Identifier: BSD-3-Clause
"""Which QEMU runs a guest, and a newer one than the installed for guests that need it.

Linux 6.12 and QEMU 7.2 without KVM do not go together. For such guests the QEMU of a newer Debian
is unpacked below the cache, with all libraries that it needs; nothing is installed.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

from vhostlab import paths
from vhostlab.errors import Unavailable
from vhostlab.images.image import Image
from vhostlab.images.lock import locked
from vhostlab.images.packages import PackageSource, Wanted
from vhostlab.images.progress import Progress, Silent
from vhostlab.process import find_program, output_of
from vhostlab.qemu.disks import Disk, VhostBlk, VhostScsi

VARIABLE = "VHOSTLAB_QEMU"
"""Names a QEMU to use for all guests."""

HINT = "install qemu-system-x86 (Debian, Ubuntu) or qemu-system-x86-core (Fedora)"
SUITE = "trixie"
PROGRAM = "qemu-system-x86_64"
_LARGE_QUEUES_SINCE, _LARGE_QUEUE = (10,), 1024
_PARTS = ("qemu-system-*", "seabios", "lib*", "zlib1g")
"""What of its dependencies is more than a script."""
_LIBRARIES = "usr/lib/x86_64-linux-gnu"


def program(image: Image, accel: str) -> Path:
    """The QEMU for a guest."""
    if named := os.environ.get(VARIABLE):
        return Path(named)
    installed = Path(find_program(PROGRAM, HINT))
    if not _too_old(installed, image, accel):
        return installed
    if unpacked().exists():
        return unpacked()
    raise Unavailable(
        f"without KVM, guest {image.name} needs QEMU {image.tcg_qemu} or newer",
        f"`vhostlab images build {image.name}` unpacks one, or name one in {VARIABLE}",
    )


async def ensure(image: Image, accel: str, progress: Progress | None = None) -> None:
    """Have the QEMU that the guest needs: unpack it when it is not there."""
    if os.environ.get(VARIABLE) or not image.tcg_qemu or accel != "tcg":
        return
    if not _too_old(Path(find_program(PROGRAM, HINT)), image, accel):
        return
    cache = paths.cache_dir()
    (cache / "qemu").mkdir(parents=True, exist_ok=True)
    async with locked(cache / "qemu" / "lock", "the newer QEMU"):
        if not unpacked().exists():
            await _unpack(cache, progress or Silent())


def unpacked() -> Path:
    """Where the newer QEMU is or will be."""
    return paths.cache_dir() / "qemu" / SUITE / PROGRAM


def fitted(disk: Disk, qemu: Path) -> Disk:
    """The disk with queues of which the target can keep track.

    The QEMU of Debian 13 offers the guest queues of 1024 whatever their size is said to be, and
    says that size to the target when it asks for the area of requests in flight. A ring that does
    not fit into its area is not tracked, or cannot be set up at all.
    """
    if isinstance(disk, VhostBlk | VhostScsi) and version(qemu) >= _LARGE_QUEUES_SINCE:
        return replace(disk, queue_size=max(disk.queue_size, _LARGE_QUEUE))
    return disk


def version(of: Path) -> tuple[int, ...]:
    """(7, 2, 22), as the program says."""
    try:
        return _version(of, of.stat().st_mtime_ns)
    except OSError:
        # Whoever starts it will say so.
        return ()


@functools.cache
def _version(of: Path, _mtime: int) -> tuple[int, ...]:
    said = subprocess.run([of, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"version (\d+(?:\.\d+)*)", said)
    return tuple(int(number) for number in found[1].split(".")) if found else ()


def _too_old(installed: Path, image: Image, accel: str) -> bool:
    if accel != "tcg" or not image.tcg_qemu:
        return False
    return version(installed) < tuple(int(number) for number in image.tcg_qemu.split("."))


async def _unpack(cache: Path, progress: Progress) -> None:
    progress.step(f"unpacking QEMU of Debian {SUITE}")
    wanted = Wanted("a newer QEMU", SUITE, "amd64", ("qemu-system-x86",), _PARTS)
    packages = await PackageSource(wanted, cache).fetch()
    final = unpacked().parent
    new = final.with_name(f".new-{os.getpid()}")
    shutil.rmtree(new, ignore_errors=True)
    (new / "root").mkdir(parents=True)
    try:
        for package in packages:
            await output_of(["dpkg-deb", "-x", str(package.path), str(new / "root")], 120.0)
        script = new / PROGRAM
        script.write_text(_wrapper(final / "root"))
        script.chmod(0o755)
        shutil.rmtree(final, ignore_errors=True)
        new.rename(final)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _wrapper(root: Path) -> str:
    """Runs it with its own loader, libraries, modules and firmware."""
    share = root / "usr" / "share"
    return (
        "#!/bin/sh\n"
        f"export QEMU_MODULE_DIR='{root}/{_LIBRARIES}/qemu'\n"
        f"exec '{root}/{_LIBRARIES}/ld-linux-x86-64.so.2' --library-path '{root}/{_LIBRARIES}' "
        f"'{root}/usr/bin/{PROGRAM}' -L '{share}/qemu' -L '{share}/seabios' \"$@\"\n"
    )
