# SPDX-License-Identifier: BSD-3-Clause
"""From a recipe to a bootable image in the cache.

``images/<name>-<id>/`` holds kernel, initrd and manifest.json; the id is a hash of the recipe, the
seed files and the exact packages. ``images/by-recipe/<digest>`` names the newest image of a recipe,
so a second run looks at nothing else and needs no network.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vhostlab import paths
from vhostlab.errors import HarnessError
from vhostlab.images import cpio
from vhostlab.images.initramfs import Initramfs
from vhostlab.images.kernel import Kernel
from vhostlab.images.packages import Package, PackageSource
from vhostlab.images.recipe import FORMAT, Recipe, micro_recipe
from vhostlab.images.tree import FileTree
from vhostlab.wait import until

LOCK_TIMEOUT_S = 900.0


@dataclass(frozen=True)
class Image:
    """A guest image that is ready to boot."""

    name: str
    id: str
    kernel: Path
    initrd: Path
    cmdline: str
    manifest: dict[str, Any]


async def build(
    recipe: Path | None = None, cache_dir: Path | None = None, *, refresh: bool = False
) -> Image:
    """The image of a recipe (the micro guest's by default), out of the cache or newly built.

    ``refresh`` asks the package mirror for newer packages although there is an image.
    """
    wanted = Recipe.load(recipe or micro_recipe())
    root = (cache_dir or paths.cache_dir()) / "images"
    root.mkdir(parents=True, exist_ok=True)
    if not refresh and (image := _cached(wanted, root)):
        return image
    async with _locked(root / f"{wanted.name}.lock", wanted.name):
        if not refresh and (image := _cached(wanted, root)):
            return image
        return await _build(wanted, root)


def _cached(recipe: Recipe, root: Path) -> Image | None:
    try:
        identity = (root / "by-recipe" / recipe.digest).read_text().strip()
        return _load(root / f"{recipe.name}-{identity}")
    except (OSError, json.JSONDecodeError, KeyError):
        return None


def _load(directory: Path) -> Image:
    manifest = json.loads((directory / "manifest.json").read_text())
    image = Image(
        name=manifest["name"],
        id=manifest["id"],
        kernel=directory / "kernel",
        initrd=directory / "initrd",
        cmdline=manifest["cmdline"],
        manifest=manifest,
    )
    for path in (image.kernel, image.initrd):
        if path.stat().st_size != manifest["sizes"][path.name]:
            raise OSError(f"{path} is not whole")
    return image


async def _build(recipe: Recipe, root: Path) -> Image:
    packages = await PackageSource(recipe, root.parent).fetch()
    identity = _identity(recipe, packages)
    final = root / f"{recipe.name}-{identity}"
    if not (final / "manifest.json").exists():
        with tempfile.TemporaryDirectory(prefix=".new-", dir=root) as work:
            new = Path(work) / "image"
            new.mkdir()
            await _fill(new, recipe, packages, identity)
            shutil.rmtree(final, ignore_errors=True)
            new.rename(final)
    index = root / "by-recipe"
    index.mkdir(exist_ok=True)
    fresh = index / f".{recipe.digest}.{os.getpid()}"
    fresh.write_text(identity + "\n")
    fresh.rename(index / recipe.digest)
    return _load(final)


async def _fill(new: Path, recipe: Recipe, packages: Sequence[Package], identity: str) -> None:
    tree = FileTree()
    for package in packages:
        await tree.add_package(package.path)
    kernel = Kernel(tree)
    initramfs = Initramfs(recipe, tree, kernel)
    await initramfs.collect()
    (new / "kernel").write_bytes(kernel.image)
    with (new / "initrd").open("wb") as out:
        cpio.write(initramfs.nodes, out)
    files = (new / "kernel", new / "initrd")
    manifest = {
        "format": FORMAT,
        "name": recipe.name,
        "id": identity,
        "suite": recipe.suite,
        "architecture": recipe.architecture,
        "kernel_version": kernel.version,
        "cmdline": recipe.cmdline,
        "recipe_sha256": recipe.digest,
        "packages": {p.name: {"version": p.version, "sha256": p.sha256} for p in packages},
        "sizes": {path.name: path.stat().st_size for path in files},
        "sha256": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files},
    }
    (new / "manifest.json").write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n")


def _identity(recipe: Recipe, packages: Sequence[Package]) -> str:
    digest = hashlib.sha256(recipe.digest.encode())
    for package in packages:
        digest.update(f"{package.name} {package.version} {package.sha256}\n".encode())
    return digest.hexdigest()[:16]


@asynccontextmanager
async def _locked(path: Path, name: str) -> AsyncIterator[None]:
    """One builder at a time; a second one waits and then finds the image."""
    with path.open("w") as lock:

        async def try_lock() -> bool | None:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return None
            return True

        await until(f"lock on the build of the {name} image ({path})", LOCK_TIMEOUT_S, try_lock)
        try:
            yield
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)


def main() -> None:
    """``python3 -m vhostlab.images.build``: build the micro image and say where it is."""
    try:
        image = asyncio.run(build())
    except HarnessError as error:
        raise SystemExit(f"vhostlab: {error}") from error
    print(f"{image.name} {image.id} {image.kernel.parent}")


if __name__ == "__main__":
    main()
