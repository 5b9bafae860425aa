# SPDX-License-Identifier: BSD-3-Clause
"""Bootable disks, made without a loop device, a mount or root.

GPT with three partitions: GRUB for a BIOS, an EFI system partition with GRUB and its configuration,
and, if there is one, an ext4 root. All identifiers come from the name of the disk and all times are
fixed, so the same input gives the same bytes.
"""

from __future__ import annotations

import os
import pwd
import shlex
import struct
import tempfile
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vhostlab.errors import HarnessError, Unavailable
from vhostlab.images import ext4
from vhostlab.process import find_program, output_bytes, output_of

MIB = 1024 * 1024
SECTOR = 512

EPOCH = int(os.environ.get("SOURCE_DATE_EPOCH", "1735689600"))
"""The time of everything that a build makes (1 January 2025)."""

ENVIRONMENT = {
    "SOURCE_DATE_EPOCH": str(EPOCH),
    "E2FSPROGS_FAKE_TIME": str(EPOCH),
    "LC_ALL": "C",
    "TZ": "UTC",
    "MTOOLS_SKIP_CHECK": "1",
    # The programs for file systems are outside of an ordinary user's PATH on Debian.
    "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin",
}

_NAMESPACE = uuid.UUID("6f0d7a3e-2d5b-4c55-9f1e-1f0a51c2b7aa")
_BIOS_START, _BIOS_SIZE = 1 * MIB, 1 * MIB
_ESP_START = _BIOS_START + _BIOS_SIZE
_BIOS_TYPE = "21686148-6449-6E6F-744E-656564454649"
_ESP_TYPE = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
_LINUX_TYPE = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"

_MODULES = (
    "part_gpt",
    "fat",
    "ext2",
    "search_fs_uuid",
    "normal",
    "linux",
    "serial",
    "echo",
    "halt",
)
_STEP_TIMEOUT_S = 900.0


@dataclass(frozen=True)
class Layout:
    """What lies where on a disk."""

    name: str
    esp_mib: int
    root_mib: int = 0

    def identifier(self, what: str) -> str:
        """A UUID that is always the same for the same part of the same disk."""
        return str(uuid.uuid5(_NAMESPACE, f"{self.name}/{what}"))

    @property
    def root_uuid(self) -> str:
        return self.identifier("root file system")

    @property
    def fat_id(self) -> str:
        return self.identifier("esp file system")[:8].upper()

    @property
    def root_start(self) -> int:
        return _ESP_START + self.esp_mib * MIB

    @property
    def size(self) -> int:
        # The copy of the partition table lies at the end.
        return self.root_start + (self.root_mib + 1) * MIB


def grub_menu(kernel: str, initrd: str, cmdline: str, root_uuid: str = "") -> bytes:
    """GRUB's configuration: it boots at once and speaks on the serial port."""
    lines = [
        "serial --unit=0 --speed=115200",
        "terminal_input serial",
        "terminal_output serial",
        "echo 'vhostlab: grub'",
    ]
    if root_uuid:
        lines.append(f"search.fs_uuid {root_uuid} root")
    lines += [f"linux {kernel} {cmdline}", f"initrd {initrd}", "boot"]
    return ("\n".join(lines) + "\n").encode()


async def make(
    disk: Path, layout: Layout, esp: Mapping[str, bytes | Path], tree_script: str = ""
) -> None:
    """Write the disk. ``esp``: path -> content of the files of the EFI system partition, of which
    grub/grub.cfg is GRUB's configuration. ``tree_script`` is a shell script that leaves the files
    of the root in its working directory ``tree``.
    """
    with disk.open("wb") as file:
        file.truncate(layout.size)
    with tempfile.TemporaryDirectory(prefix="vl-disk-", dir=disk.parent) as directory:
        work = Path(directory)
        await _partition(disk, layout, work)
        await _system_partition(disk, layout, esp, work)
        await _bios_grub(disk, layout, work)
        if layout.root_mib:
            await _root(disk, layout, tree_script, work)


async def _partition(disk: Path, layout: Layout, work: Path) -> None:
    parts = [(_BIOS_TYPE, _BIOS_START, _BIOS_SIZE, "bios")]
    parts.append((_ESP_TYPE, _ESP_START, layout.esp_mib * MIB, "esp"))
    if layout.root_mib:
        parts.append((_LINUX_TYPE, layout.root_start, layout.root_mib * MIB, "root"))
    lines = ["label: gpt", f"label-id: {layout.identifier('disk')}", "unit: sectors"]
    lines += [
        f"start={start // SECTOR}, size={size // SECTOR}, type={kind}, name={name}, "
        f"uuid={layout.identifier(name)}"
        for kind, start, size, name in parts
    ]
    script = work / "layout"
    script.write_text("\n".join(lines) + "\n")
    sfdisk = find_program("sfdisk", "install fdisk (Debian) or util-linux")
    words = [sfdisk, "--quiet", "--no-reread", "--no-tell-kernel", str(disk)]
    await _shell(f"{shlex.join(words)} < {shlex.quote(str(script))}")


async def _system_partition(
    disk: Path, layout: Layout, esp: Mapping[str, bytes | Path], work: Path
) -> None:
    mkfs = find_program("mkfs.vfat", "install dosfstools")
    kind = "16" if layout.esp_mib < 256 else "32"
    words = [mkfs, "-F", kind, "--invariant", "-i", layout.fat_id, "-n", "VHOSTLAB"]
    words += ["--offset", str(_ESP_START // SECTOR), str(disk), str(layout.esp_mib * 1024)]
    await _shell(shlex.join(words))
    loader = work / "bootx64.efi"
    await _grub_image("x86_64-efi", layout, loader)
    await _fat_copy(disk, {"EFI/BOOT/BOOTX64.EFI": loader, **esp}, work)


async def _fat_copy(disk: Path, files: Mapping[str, bytes | Path], work: Path) -> None:
    find_program("mcopy", "install mtools")
    where = shlex.quote(f"{disk}@@{_ESP_START}")
    made: set[str] = set()
    for number, (path, content) in enumerate(files.items()):
        source = work / f"file-{number}"
        if isinstance(content, bytes):
            source.write_bytes(content)
        else:
            source.symlink_to(content.absolute())
        parents = [str(p) for p in reversed(Path(path).parents) if str(p) != "."]
        for parent in (p for p in parents if p not in made):
            await _shell(f"mmd -i {where} ::/{parent}")
            made.add(parent)
        await _shell(f"mcopy -i {where} {shlex.quote(str(source))} ::/{path}")


async def _bios_grub(disk: Path, layout: Layout, work: Path) -> None:
    """What grub-install would do: the boot sector finds the core in its partition."""
    core_file = work / "core.img"
    await _grub_image("i386-pc", layout, core_file)
    core = bytearray(core_file.read_bytes())
    if len(core) > _BIOS_SIZE:
        raise HarnessError(f"GRUB's core has {len(core)} bytes, its partition {_BIOS_SIZE}")
    first = _BIOS_START // SECTOR
    boot = bytearray((_grub_directory("i386-pc") / "boot.img").read_bytes())
    # where the core begins
    struct.pack_into("<Q", boot, 0x5C, first)
    # the core's first sector loads the rest, which follows it
    struct.pack_into("<Q", core, 0x1F4, first + 1)
    with disk.open("r+b") as file:
        # The rest of the sector holds the partition table.
        file.write(boot[:440])
        file.seek(_BIOS_START)
        file.write(core)


async def _grub_image(platform: str, layout: Layout, out: Path) -> None:
    config = out.with_suffix(".cfg")
    fat = f"{layout.fat_id[:4]}-{layout.fat_id[4:]}"
    config.write_text(f"search.fs_uuid {fat} root\nset prefix=($root)/grub\n")
    modules = (*_MODULES, *(("biosdisk",) if platform == "i386-pc" else ()))
    words = [_grub_mkimage(), "-O", platform, "-d", str(_grub_directory(platform))]
    words += ["-o", str(out), "-c", str(config), "-p", "/grub", *modules]
    await _shell(shlex.join(words))


def _grub_mkimage() -> str:
    try:
        return find_program("grub-mkimage", "")
    except Unavailable:
        return find_program("grub2-mkimage", "install grub-common (Debian) or grub2-tools")


def _grub_directory(platform: str) -> Path:
    path = Path("/usr/lib/grub") / platform
    if not path.is_dir():
        hint = "grub-pc-bin" if platform == "i386-pc" else "grub-efi-amd64-bin"
        raise Unavailable(f"GRUB for {platform} is missing: {path}", f"install {hint} (Debian)")
    return path


async def _root(disk: Path, layout: Layout, tree_script: str, work: Path) -> None:
    """Runs as root of a user namespace where it is not root: owners are kept."""
    own = layout.root_uuid
    words = ["mke2fs", "-q", "-F", "-t", "ext4", "-d", "tree", "-U", own, "-L", "vhostlab"]
    words += ["-O", ext4.FEATURES, "-m", "0", "-E"]
    words.append(
        f"offset={layout.root_start},hash_seed={own},lazy_itable_init=0,lazy_journal_init=0,"
        "root_owner=0:0"
    )
    words += [str(disk), f"{layout.root_mib * 1024}k"]
    script = f"set -e; cd {shlex.quote(str(work))}; mkdir tree\n{tree_script}\n"
    # Newer than everything: what was touched by putting it there.
    script += f"find tree -newermt @{EPOCH} -exec touch -h -d @{EPOCH} {{}} +\n"
    script += f"{shlex.join(words)}\nrm -rf tree\n"
    await as_root(script)
    ext4.settle_times(disk, layout.root_start)


async def as_root(script: str) -> None:
    """Run a shell script as root, or as root of a user namespace of one's own."""
    argv = ["sh", "-c", script]
    if os.geteuid() != 0:
        unshare = find_program("unshare", "install util-linux")
        others = ["--map-auto"] if _has_others() else []
        argv = [unshare, "--map-root-user", *others, "--", *argv]
    await output_of(argv, _STEP_TIMEOUT_S, env=ENVIRONMENT)


def _has_others() -> bool:
    """Whether this user may give files to other users, in a namespace of its own."""
    own = pwd.getpwuid(os.getuid()).pw_name
    try:
        lines = Path("/etc/subuid").read_text().splitlines()
    except OSError:
        return False
    return any(line.split(":")[0] in (own, str(os.getuid())) for line in lines)


async def to_qcow2(raw: Path, qcow2: Path, *, compress: bool = False) -> None:
    """Convert; what was not written takes no room."""
    program = find_program("qemu-img", "install qemu-utils (Debian) or qemu-img")
    words = [program, "convert", "-f", "raw", "-O", "qcow2", *(["-c"] if compress else [])]
    await output_of([*words, str(raw), str(qcow2)], _STEP_TIMEOUT_S)


async def _shell(script: str) -> None:
    await output_bytes(["sh", "-c", script], _STEP_TIMEOUT_S, env=ENVIRONMENT)
