# SPDX-License-Identifier: BSD-3-Clause
"""images: archives that are the same every time, recipes that are checked, and the cache."""

from __future__ import annotations

import asyncio
import io
import shutil
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vhostlab.errors import HarnessError, Unavailable
from vhostlab.images import build as build_image
from vhostlab.images import cpio, micro_recipe
from vhostlab.images.elf import linkage
from vhostlab.images.kernel import Module, modules_alias, modules_dep
from vhostlab.images.packages import debian_mirror
from vhostlab.images.recipe import MicroRecipe, load
from vhostlab.images.tree import FileTree, PackedFile, normal


def archive(nodes: dict[str, cpio.Node]) -> bytes:
    out = io.BytesIO()
    cpio.write(nodes, out)
    return out.getvalue()


def read_back(data: bytes) -> dict[str, tuple[int, bytes]]:
    """An independent reader of the format: name -> mode, content."""
    found: dict[str, tuple[int, bytes]] = {}
    at = 0
    while True:
        assert data[at : at + 6] == b"070701"
        field = [int(data[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        name = data[at + 110 : at + 110 + field[11] - 1].decode()
        at = (at + 110 + field[11] + 3) & ~3
        if name == "TRAILER!!!":
            return found
        found[name] = (field[1], data[at : at + field[6]])
        at = (at + field[6] + 3) & ~3


names = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=9)


@given(st.dictionaries(st.lists(names, min_size=1, max_size=3).map(tuple), st.binary(max_size=99)))
def test_cpio_gives_back_what_went_in(tree: dict[tuple[str, ...], bytes]) -> None:
    # A name cannot be both a file and the directory of another.
    leaves = {
        "/" + "/".join(path): data
        for path, data in tree.items()
        if not any(other[: len(path)] == path for other in tree if other != path)
    }
    found = read_back(archive({path: cpio.regular(data) for path, data in leaves.items()}))
    for path, data in leaves.items():
        assert found[path[1:]] == (stat.S_IFREG | 0o644, data)
    for path in found:
        assert path.rpartition("/")[0] in ("", *found)


def test_cpio_does_not_depend_on_the_order() -> None:
    nodes = {"/b": cpio.regular(b"1"), "/a/x": cpio.symlink("b"), "/dev/c": cpio.char_device(5, 1)}
    assert archive(nodes) == archive(dict(reversed(nodes.items())))


@pytest.mark.skipif(shutil.which("cpio") is None, reason="the program cpio is not installed")
def test_cpio_is_read_by_cpio(tmp_path: Path) -> None:
    data = archive({"/d/f": cpio.regular(b"text", 0o755), "/d/l": cpio.symlink("f")})
    subprocess.run(["cpio", "-i", "--quiet"], input=data, cwd=tmp_path, check=True)
    assert (tmp_path / "d" / "l").read_text() == "text"
    assert (tmp_path / "d" / "f").stat().st_mode & 0o777 == 0o755


def test_linkage_agrees_with_the_loader() -> None:
    shell = Path(shutil.which("sh") or "/bin/sh").resolve()
    listed = subprocess.run(["ldd", shell], capture_output=True, text=True, check=True).stdout
    found = linkage(shell.read_bytes())
    assert found.needed
    for name in found.needed:
        assert name in listed
    assert found.interpreter is not None and Path(found.interpreter).exists()


def test_linkage_refuses_what_is_no_program() -> None:
    with pytest.raises(HarnessError, match="ELF"):
        linkage(b"#!/bin/sh\n")


def test_tree_folds_directories_and_follows_links() -> None:
    tree = FileTree()
    tree.add("./lib/x86_64-linux-gnu/libx.so.1.2", PackedFile(b"code"))
    tree.add("/usr/lib/x86_64-linux-gnu/libx.so.1", PackedFile(link="libx.so.1.2"))
    tree.add("/sbin/loop", PackedFile(link="loop"))
    assert normal("./sbin/x") == "/usr/sbin/x"
    assert tree.read("/lib/x86_64-linux-gnu/libx.so.1") == b"code"
    assert tree.find("/nowhere") is None
    with pytest.raises(HarnessError, match="circles"):
        tree.read("/sbin/loop")


def test_tree_reads_a_package(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN" / "control").write_text(
        "Package: x\nVersion: 1\nArchitecture: all\nMaintainer: n <n@localhost>\nDescription: x\n"
    )
    (root / "bin").mkdir()
    (root / "bin" / "tool").write_text("tool")
    (root / "bin" / "same").hardlink_to(root / "bin" / "tool")
    package = tmp_path / "x.deb"
    subprocess.run(["dpkg-deb", "-b", root, package], check=True, capture_output=True)
    tree = FileTree()
    asyncio.run(tree.add_package(package))
    assert tree.matching("/usr/bin/*") == ["/usr/bin/same", "/usr/bin/tool"]
    assert tree.read("/bin/same") == b"tool"


def test_a_damaged_package_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.deb").write_bytes(b"not a package")
    with pytest.raises((HarnessError, tarfile.TarError)):
        asyncio.run(FileTree().add_package(tmp_path / "x.deb"))


def test_modules_are_listed_after_what_they_need() -> None:
    directory = "/usr/lib/modules/6.1"
    ring = Module("ring", f"{directory}/ring.ko", b"", (), ())
    bus = Module("bus", f"{directory}/bus.ko", b"", ("ring",), ())
    blk = Module("blk", f"{directory}/drivers/blk.ko", b"", ("bus",), ("virtio:d2v*",))
    assert modules_dep([ring, bus, blk], directory).decode().splitlines() == [
        "ring.ko:",
        "bus.ko: ring.ko",
        "drivers/blk.ko: bus.ko ring.ko",
    ]
    assert modules_alias([ring, blk]) == b"alias virtio:d2v* blk\n"


def recipe_copy(tmp_path: Path) -> Path:
    origin = micro_recipe()
    shutil.copytree(origin.with_suffix(""), tmp_path / "micro")
    return Path(shutil.copy(origin, tmp_path / "micro.toml"))


def test_the_micro_recipe_is_sound() -> None:
    recipe = load(micro_recipe())
    assert isinstance(recipe, MicroRecipe)
    assert recipe.name == "micro"
    assert "panic=-1" in recipe.cmdline
    scripts = {seed.path for seed in recipe.seeds if seed.executable}
    assert {"/etc/rc", "/etc/agent", "/sbin/shutdown"} <= scripts


def test_a_recipes_digest_covers_the_seeds(tmp_path: Path) -> None:
    path = recipe_copy(tmp_path)
    before = load(path).digest
    assert before == load(micro_recipe()).digest
    (tmp_path / "micro" / "etc" / "rc").open("a").write("# more\n")
    changed = load(path).digest
    (tmp_path / "micro" / "etc" / "rc").chmod(0o644)
    assert len({before, changed, load(path).digest}) == 3


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('suite = "bookworm"', "suite = 12", "'packages.suite' must be a non-empty string"),
        ('suite = "bookworm"', 'suit = "bookworm"', "'packages.suite' must be"),
        ('name = "micro"', 'name = "micro"\ncolour = "red"', "unknown key 'colour'"),
        ("[kernel]", "[kernel]\nspeed = 1", "unknown key 'kernel.speed'"),
        ('kind = "micro"', 'kind = "mini"', "'kind' must be one of micro"),
        ("install = [", "install = 5 #", "micro.toml"),
    ],
)
def test_a_bad_recipe_says_where(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = recipe_copy(tmp_path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(HarnessError, match=message):
        load(path)


def test_without_a_debian_archive_the_mirror_must_be_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apt = tmp_path / "apt-get"
    apt.write_text("#!/bin/sh\nexit 0\n")
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("VHOSTLAB_DEBIAN_MIRROR", raising=False)
    with pytest.raises(Unavailable, match="VHOSTLAB_DEBIAN_MIRROR"):
        debian_mirror()


def test_a_mirror_that_cannot_be_reached_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VHOSTLAB_DEBIAN_MIRROR", "http://127.0.0.1:1/debian")
    with pytest.raises(
        Unavailable, match=r"cannot fetch the packages of the micro guest"
    ) as caught:
        asyncio.run(build_image(recipe_copy(tmp_path), tmp_path / "cache"))
    assert caught.value.exit_status == 2
