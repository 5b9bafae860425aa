# SPDX-License-Identifier: BSD-3-Clause
"""images: cloud images from a mirror on this machine, signed with a key made for the test."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from vhostlab.errors import HarnessError, Unavailable
from vhostlab.images import download, iso, recipe_path
from vhostlab.images.cloud import CloudBuilder
from vhostlab.images.recipe import CloudRecipe, load
from vhostlab.images.seed import SEEDED, nocloud
from vhostlab.images.signature import binary_keyring, checksum_of, signed_text

IMAGE = hashlib.shake_128(b"an image").digest(3_000_000)
OTHER = hashlib.shake_128(b"a newer image").digest(2_500_000)
NAME = "some-cloud.img"


@dataclass
class Mirror:
    """A web server with ranges and entity tags, which can be told to fail."""

    files: dict[str, bytes] = field(default_factory=dict)
    #: After so many bytes of a body the connection is closed, once for each number.
    cuts: list[int] = field(default_factory=list)
    #: Files of which fewer bytes come than are announced, always.
    truncated: set[str] = field(default_factory=set)
    ranges: bool = True
    requests: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""

    def asked(self, name: str) -> list[str]:
        """The ranges that were asked for."""
        return [wanted for path, wanted in self.requests if path.endswith(name)]


class Handler(BaseHTTPRequestHandler):
    mirror: Mirror

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2]
        wanted = self.headers.get("Range", "")
        self.mirror.requests.append((self.path, wanted))
        body = self.mirror.files.get(name)
        if body is None:
            self.send_error(404)
            return
        tag = f'"{hashlib.md5(body).hexdigest()}"'
        start = 0
        found = re.fullmatch(r"bytes=(\d+)-", wanted)
        if found and self.mirror.ranges and self.headers.get("If-Range") in (None, tag):
            start = int(found[1])
            if start >= len(body):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        self.send_header("ETag", tag)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        sent = body[start:]
        if name in self.mirror.truncated:
            sent = sent[: len(sent) // 2]
        elif self.mirror.cuts and name == NAME:
            sent = sent[: self.mirror.cuts.pop(0)]
        self.wfile.write(sent)

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def serving(mirror: Mirror) -> Iterator[ThreadingHTTPServer]:
    handler = type("Bound", (Handler,), {"mirror": mirror})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    mirror.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    made = Mirror()
    with serving(made):
        yield made


@dataclass(frozen=True)
class Signer:
    """A key of the test's own."""

    home: Path
    fingerprint: str
    keyring: Path

    def sign(self, text: bytes, *words: str) -> bytes:
        return gpg(self.home, *words, "-u", self.fingerprint, stdin=text)


def gpg(home: Path, *words: str, stdin: bytes = b"") -> bytes:
    argv = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--pinentry-mode", "loopback"]
    done = subprocess.run(
        [*argv, "--passphrase", "", *words], input=stdin, capture_output=True, check=True
    )
    return done.stdout


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    # gpg's agent listens in it: the path must be short
    path = Path(subprocess.check_output(["mktemp", "-d", "/tmp/vl-gpg-XXXXXX"], text=True).strip())
    try:
        yield path
    finally:
        subprocess.run(["gpgconf", "--homedir", path, "--kill", "all"], check=False)
        shutil.rmtree(path)


def new_key(home: Path, name: str, expires: str, *words: str) -> Signer:
    uid = f"{name} <{name}@localhost>"
    gpg(home, *words, "--quick-generate-key", uid, "ed25519", "sign", expires)
    listing = gpg(home, "--with-colons", "--list-keys", name).decode()
    fingerprint = re.findall(r"^fpr:+([0-9A-F]{40}):", listing, re.MULTILINE)[0]
    ring = home / f"{name}.asc"
    ring.write_bytes(gpg(home, "--armor", "--export", fingerprint))
    return Signer(home, fingerprint, ring)


@pytest.fixture(scope="module")
def signer(home: Path) -> Signer:
    return new_key(home, "good", "never")


@pytest.fixture(scope="module")
def stranger(home: Path) -> Signer:
    return new_key(home, "stranger", "never")


@pytest.fixture(scope="module")
def expired(home: Path) -> Signer:
    past = ("--faked-system-time", "20200101T000000")
    return new_key(home, "expired", "1d", *past)


class Heard:
    """Progress, kept."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.amounts: list[tuple[int, int]] = []

    def step(self, text: str) -> None:
        self.steps.append(text)

    def amount(self, done: int, total: int) -> None:
        self.amounts.append((done, total))


@dataclass
class Rig:
    mirror: Mirror
    signer: Signer
    cache: Path
    heard: Heard = field(default_factory=Heard)

    def recipe(self, *, inline: bool = False, fingerprint: str = "") -> CloudRecipe:
        path = self.cache / "some-cloud.toml"
        signature = "" if inline else f'signature = "{self.mirror.url}/SHA256SUMS.gpg"\n'
        path.write_text(
            f'kind = "cloud"\nname = "some-cloud"\nsummary = "for a test"\n'
            f'[image]\nurl = "{self.mirror.url}/{NAME}"\n'
            f'checksums = "{self.mirror.url}/SHA256SUMS"\n{signature}'
            f'[signer]\nfingerprint = "{fingerprint or self.signer.fingerprint}"\n'
            f'keyring = "{self.signer.keyring}"\npackage = "none"\n'
            '[seed]\npackages = ["fio"]\n[disk]\nsize_mib = 64\n'
        )
        recipe = load(path)
        assert isinstance(recipe, CloudRecipe)
        return recipe

    def publish(self, image: bytes, text: bytes = b"", *, inline: bool = False) -> None:
        text = text or f"{hashlib.sha256(image).hexdigest()} *{NAME}\n".encode()
        self.mirror.files[NAME] = image
        if inline:
            self.mirror.files["SHA256SUMS"] = self.signer.sign(text, "--clearsign")
        else:
            self.mirror.files["SHA256SUMS"] = text
            self.mirror.files["SHA256SUMS.gpg"] = self.signer.sign(text, "--detach-sign")

    def get(self, recipe: CloudRecipe | None = None) -> bytes:
        """Checks the checksums, fetches the image, checks it."""
        recipe = recipe or self.recipe()
        builder = CloudBuilder(recipe, self.cache, self.cache, self.heard)

        async def run() -> bytes:
            sha256 = await builder.wanted()
            return (await builder.fetch(sha256)).path.read_bytes()

        return asyncio.run(run())

    def left(self) -> list[str]:
        """What is in the cache of the image."""
        return sorted(p.name.rpartition("-")[2] for p in (self.cache / "downloads").glob("*.img*"))


@pytest.fixture
def rig(mirror: Mirror, signer: Signer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    for name in (download.MIRROR_VARIABLE, download.OFFLINE_VARIABLE, "VHOSTLAB_KEYRING"):
        monkeypatch.delenv(name, raising=False)
    return Rig(mirror, signer, tmp_path)


def test_a_signed_image_is_fetched_once(rig: Rig) -> None:
    rig.publish(IMAGE)
    assert rig.get() == IMAGE
    assert rig.get() == IMAGE
    assert rig.mirror.asked(NAME) == [""]
    assert rig.heard.amounts[-1] == (len(IMAGE), len(IMAGE))
    assert rig.left() == ["cloud.img"]


def test_checksums_that_are_signed_in_themselves(rig: Rig) -> None:
    text = f"# of {NAME}\nSHA256 ({NAME}) = {hashlib.sha256(IMAGE).hexdigest()}\n"
    rig.publish(IMAGE, text.encode(), inline=True)
    assert rig.get(rig.recipe(inline=True)) == IMAGE


def test_text_outside_of_the_signature_counts_for_nothing(rig: Rig) -> None:
    rig.publish(IMAGE, inline=True)
    lie = f"{hashlib.sha256(OTHER).hexdigest()} *{NAME}\n".encode()
    rig.mirror.files["SHA256SUMS"] = lie + rig.mirror.files["SHA256SUMS"] + lie
    rig.mirror.files[NAME] = OTHER
    with pytest.raises(HarnessError, match=r"has the checksum|signature of"):
        rig.get(rig.recipe(inline=True))


def test_changed_checksums_are_refused(rig: Rig) -> None:
    rig.publish(IMAGE)
    rig.mirror.files["SHA256SUMS"] += b"\n"
    with pytest.raises(HarnessError, match="the file is not what was signed"):
        rig.get()
    assert rig.mirror.asked(NAME) == []


def test_no_signature_at_all(rig: Rig) -> None:
    rig.publish(IMAGE)
    rig.mirror.files["SHA256SUMS.gpg"] = b""
    with pytest.raises(HarnessError, match=r"the signature of .* is not good"):
        rig.get()


def test_somebody_elses_signature(rig: Rig, stranger: Signer) -> None:
    rig.publish(IMAGE)
    rig.mirror.files["SHA256SUMS.gpg"] = stranger.sign(
        rig.mirror.files["SHA256SUMS"], "--detach-sign"
    )
    with pytest.raises(HarnessError, match="the keyring has no key for it"):
        rig.get()
    # in a keyring that has both keys only the one that the recipe names counts
    both = rig.cache / "both.gpg"
    both.write_bytes(gpg(stranger.home, "--export", stranger.fingerprint, rig.signer.fingerprint))
    os.environ["VHOSTLAB_KEYRING"] = str(both)
    try:
        with pytest.raises(HarnessError, match=f"not made by the key {rig.signer.fingerprint}"):
            rig.get()
    finally:
        del os.environ["VHOSTLAB_KEYRING"]


def test_a_second_signature_does_no_harm(rig: Rig, stranger: Signer) -> None:
    rig.publish(IMAGE)
    rig.mirror.files["SHA256SUMS.gpg"] = (
        stranger.sign(rig.mirror.files["SHA256SUMS"], "--detach-sign")
        + rig.mirror.files["SHA256SUMS.gpg"]
    )
    assert rig.get() == IMAGE


def test_an_expired_key(rig: Rig, expired: Signer) -> None:
    text = f"{hashlib.sha256(IMAGE).hexdigest()} *{NAME}\n".encode()
    past = ("--faked-system-time", "20200101T120000")
    signature = expired.sign(text, *past, "--detach-sign")
    with pytest.raises(HarnessError, match="the key has expired"):
        signed_text(text, signature, expired.keyring, expired.fingerprint, "it")


def test_a_bad_image_is_dropped(rig: Rig) -> None:
    rig.publish(IMAGE)
    rig.mirror.files[NAME] = IMAGE[:-1] + b"?"
    with pytest.raises(HarnessError, match="its distribution says"):
        rig.get()
    assert rig.left() == []
    rig.mirror.files[NAME] = IMAGE
    assert rig.get() == IMAGE


def test_a_damaged_cache_is_noticed(rig: Rig) -> None:
    rig.publish(IMAGE)
    rig.get()
    (kept,) = (rig.cache / "downloads").glob("*.img")
    kept.write_bytes(IMAGE[:-1] + b"?")
    with pytest.raises(HarnessError, match="its distribution says"):
        rig.get()
    assert rig.get() == IMAGE


def test_a_broken_connection_is_gone_on_with(rig: Rig) -> None:
    rig.publish(IMAGE)
    rig.mirror.cuts = [1_000_000, 1_200_000]
    assert rig.get() == IMAGE
    assert rig.mirror.asked(NAME) == ["", "bytes=1000000-", "bytes=2200000-"]


def test_a_server_that_has_gone_is_gone_on_with_later(rig: Rig) -> None:
    rig.publish(IMAGE)
    recipe = rig.recipe()
    rig.mirror.cuts = [1_500_000] + [0] * download.ATTEMPTS
    with pytest.raises(Unavailable, match="run it again to go on") as caught:
        rig.get(recipe)
    assert caught.value.exit_status == 2
    assert "cloud.img.part" in rig.left()
    rig.mirror.requests.clear()
    assert rig.get(recipe) == IMAGE
    assert rig.mirror.asked(NAME) == ["bytes=1500000-"]
    assert rig.left() == ["cloud.img"]


def test_always_too_short(rig: Rig) -> None:
    rig.publish(IMAGE)
    rig.mirror.ranges = False
    rig.mirror.truncated.add(NAME)
    with pytest.raises(Unavailable, match=r"the connection ended too early|IncompleteRead"):
        rig.get()
    assert "cloud.img" not in rig.left()


def test_a_server_without_ranges_begins_anew(rig: Rig) -> None:
    rig.publish(IMAGE)
    rig.mirror.ranges = False
    rig.mirror.cuts = [1_000_000]
    assert rig.get() == IMAGE


def test_what_has_changed_on_the_mirror_meanwhile_is_not_mixed(rig: Rig) -> None:
    path = rig.cache / "x"
    rig.publish(IMAGE)
    rig.mirror.cuts = [1_000_000] + [0] * download.ATTEMPTS
    with pytest.raises(Unavailable):
        download.large(f"{rig.mirror.url}/{NAME}", path, rig.heard)
    rig.mirror.cuts = []
    rig.mirror.files[NAME] = OTHER
    download.large(f"{rig.mirror.url}/{NAME}", path, rig.heard)
    assert path.read_bytes() == OTHER


def test_a_new_release_is_another_image(rig: Rig) -> None:
    rig.publish(IMAGE)
    recipe = rig.recipe()

    def identity() -> str:
        return asyncio.run(CloudBuilder(recipe, rig.cache, rig.cache, rig.heard).identity())

    first = identity()
    assert identity() == first
    rig.publish(OTHER)
    assert identity() != first


def test_another_mirror(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.publish(IMAGE)
    recipe = rig.recipe()
    other = Mirror(files=dict(rig.mirror.files))
    with serving(other):
        monkeypatch.setenv(download.MIRROR_VARIABLE, other.url + "/images/")
        assert rig.get(recipe) == IMAGE
    assert rig.mirror.requests == []
    assert ("/images/some-cloud/SHA256SUMS", "") in other.requests


def test_offline(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.publish(IMAGE)
    monkeypatch.setenv(download.OFFLINE_VARIABLE, "1")
    with pytest.raises(Unavailable, match=download.OFFLINE_VARIABLE):
        rig.get()
    monkeypatch.delenv(download.OFFLINE_VARIABLE)
    rig.get()
    rig.mirror.requests.clear()
    monkeypatch.setenv(download.OFFLINE_VARIABLE, "1")
    assert rig.get() == IMAGE
    assert rig.mirror.requests == []


def test_nothing_but_web_and_files(tmp_path: Path, rig: Rig) -> None:
    (tmp_path / "f").write_bytes(b"x" * 10)
    assert download.small((tmp_path / "f").as_uri()) == b"x" * 10
    download.large((tmp_path / "f").as_uri(), tmp_path / "g", rig.heard)
    assert (tmp_path / "g").read_bytes() == b"x" * 10
    with pytest.raises(HarnessError, match="no address"):
        download.small("ftp://localhost/x")


@pytest.mark.parametrize(
    "text",
    [
        f"{'0' * 64} *other.img\n",
        f"{'0' * 64} *{NAME}\n{'1' * 64}  {NAME}\n",
        f"{'0' * 63} *{NAME}\n",
        f"x{'0' * 64} *{NAME}\n",
        f"{'0' * 64} *{NAME}.manifest\n",
    ],
)
def test_checksum_files_that_do_not_say(text: str) -> None:
    with pytest.raises(HarnessError, match=NAME):
        checksum_of(text, NAME, "SHA256SUMS")


def test_armour_is_taken_off(signer: Signer) -> None:
    plain = gpg(signer.home, "--export", signer.fingerprint)
    assert binary_keyring(signer.keyring.read_bytes()) == plain
    assert binary_keyring(plain) == plain


def test_the_seed_is_what_cloud_init_reads(tmp_path: Path) -> None:
    files = nocloud("ubuntu-16.04", ["qemu-guest-agent", "fio"])
    iso.write(tmp_path / "seed.iso", "cidata", files)
    assert iso.label(tmp_path / "seed.iso") == "cidata"
    assert iso.read(tmp_path / "seed.iso") == files
    head, _, body = files["user-data"].decode().partition("\n")
    assert head == "#cloud-config"
    told = json.loads(body)
    assert told["packages"] == ["qemu-guest-agent", "fio"]
    assert told["power_state"]["mode"] == "poweroff"
    (script,) = told["write_files"]
    assert told["runcmd"] == [[script["path"]]]
    assert script["permissions"] == "0755"
    assert SEEDED in script["content"]
    subprocess.run(["sh", "-n"], input=script["content"].encode(), check=True)
    assert json.loads(files["meta-data"])["instance-id"] == "vhostlab-ubuntu-16.04"


@pytest.mark.parametrize("name", ["ubuntu-24.04", "ubuntu-16.04", "fedora-43"])
def test_the_cloud_recipes_are_sound(name: str) -> None:
    recipe = load(recipe_path(name))
    assert isinstance(recipe, CloudRecipe)
    assert re.fullmatch("[0-9A-F]{40}", recipe.fingerprint)
    where = recipe.url.rpartition("/")[0]
    assert recipe.checksums.startswith(where)
    assert {"qemu-guest-agent", "fio"} <= set(recipe.packages)
