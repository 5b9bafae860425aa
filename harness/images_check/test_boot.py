# SPDX-License-Identifier: BSD-3-Clause
"""Whole guests: built from packages, booted by QEMU, by SeaBIOS and by OVMF; and a cloud image that
is made here, signed here and fetched from here, prepared by its own cloud-init.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal

import pytest
from vhostlab import host, images
from vhostlab.images.image import Image
from vhostlab.qemu import Vm, VmConfig, newer

FIRMWARE: tuple[Literal["direct", "bios", "uefi"], ...] = ("direct", "bios", "uefi")

#: Debian with cloud-init stands in for the images of distributions.
STAND_IN = """
extends = "{debian}"
name = "cloud-stand-in"
summary = "a Debian that waits for cloud-init"

[packages]
install = [
	"linux-image-cloud-amd64", "systemd-sysv", "udev", "kmod", "procps", "iproute2", "util-linux",
	"qemu-guest-agent", "fio", "sg3-utils", "xfsprogs", "e2fsprogs",
	"cloud-init", "ifupdown", "isc-dhcp-client",
]
"""

CLOUD = """
kind = "cloud"
name = "cloud-check"
summary = "for a test"

[image]
url = "{url}/stand-in.img"
checksums = "{url}/SHA256SUMS"

[signer]
fingerprint = "{fingerprint}"
keyring = "{keyring}"
package = "none"

[seed]
packages = ["qemu-guest-agent", "fio"]

[disk]
size_mib = 4096

[guest]
firmware = "{firmware}"
memory_mib = 640
"""


async def look(image: Image, firmware: Literal["direct", "bios", "uefi"], where: Path) -> None:
    """Boot it and see that it is what scenarios need."""
    accel = await host.accelerator(await images.build())
    await newer.ensure(image, accel)
    config = VmConfig(
        image, accel, vcpus=2, memory_mib=image.memory_mib, firmware=firmware, name=image.name
    )
    async with Vm(config, where) as vm:
        efi = await vm.guest.run("test -d /sys/firmware/efi", check=False)
        uefi = (image.firmware if firmware == "direct" and not image.kernel else firmware) == "uefi"
        assert (efi.rc == 0) == uefi
        assert (await vm.guest.run("fio --version")).stdout.startswith("fio-")
        await vm.guest.run("touch /written && sync && setsid true && sg_inq --version")
        for module in ("virtio_scsi", "virtio_blk", "xfs"):
            await vm.guest.run(f"modprobe {module}")
        print(f"{image.name}, {firmware}: {vm.boot_seconds:.1f} s")


@pytest.mark.parametrize("firmware", FIRMWARE)
def test_debian(firmware: Literal["direct", "bios", "uefi"], tmp_path: Path) -> None:
    image = asyncio.run(images.build(images.recipe_path("debian-12")))
    assert images.verify(image.directory) == []
    asyncio.run(look(image, firmware, tmp_path / "vm"))
    # what a guest writes ends with it
    assert images.verify(image.directory) == []


@contextmanager
def served(directory: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            return

    handler = functools.partial(Quiet, directory=str(directory))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def gpg_home() -> Iterator[Path]:
    made = subprocess.check_output(["mktemp", "-d", "/tmp/vl-gpg-XXXXXX"], text=True)
    path = Path(made.strip())
    yield path
    subprocess.run(["gpgconf", "--homedir", path, "--kill", "all"], check=False)
    shutil.rmtree(path)


@pytest.mark.parametrize("firmware", ["bios", "uefi"])
def test_cloud(firmware: str, gpg_home: Path, tmp_path: Path) -> None:
    def gpg(*words: str, stdin: bytes = b"") -> bytes:
        argv = ["gpg", "--homedir", str(gpg_home), "--batch", "--quiet", "--passphrase", ""]
        argv += ["--pinentry-mode", "loopback", *words]
        return subprocess.run(argv, input=stdin, capture_output=True, check=True).stdout

    debian = tmp_path / "stand-in.toml"
    debian.write_text(STAND_IN.format(debian=images.recipe_path("debian-12")))
    (tmp_path / "debian").symlink_to(images.recipe_path("debian-12").parent / "debian")
    stand_in = asyncio.run(images.build(debian))
    assert stand_in.disk is not None
    site = tmp_path / "site"
    site.mkdir()
    (site / "stand-in.img").symlink_to(stand_in.disk)
    gpg("--quick-generate-key", "check <check@localhost>", "ed25519", "sign", "never")
    listing = gpg("--with-colons", "--list-keys").decode()
    fingerprint = re.findall(r"^fpr:+([0-9A-F]{40}):", listing, re.MULTILINE)[0]
    (gpg_home / "keys.asc").write_bytes(gpg("--armor", "--export", fingerprint))
    checksum = hashlib.sha256(stand_in.disk.read_bytes()).hexdigest()
    text = f"SHA256 (stand-in.img) = {checksum}\n".encode()
    (site / "SHA256SUMS").write_bytes(gpg("--clearsign", stdin=text))
    recipe = tmp_path / "cloud-check.toml"
    with served(site) as url:
        recipe.write_text(
            CLOUD.format(
                url=url,
                fingerprint=fingerprint,
                keyring=gpg_home / "keys.asc",
                firmware=firmware,
            )
        )
        image = asyncio.run(images.build(recipe, tmp_path / "cache"))
    assert image.manifest["source_sha256"] == checksum
    asyncio.run(look(image, "direct", tmp_path / "vm"))
