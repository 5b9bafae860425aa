# SPDX-License-Identifier: BSD-3-Clause
"""The kind ``micro``: a kernel and an initramfs out of packages."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vhostlab.images import cpio
from vhostlab.images.initramfs import Initramfs
from vhostlab.images.kernel import Kernel
from vhostlab.images.packages import Package, PackageSource, Wanted
from vhostlab.images.progress import Progress
from vhostlab.images.recipe import MicroRecipe
from vhostlab.images.tree import FileTree


class MicroBuilder:
    """Makes the image of one recipe."""

    def __init__(self, recipe: MicroRecipe, cache: Path, progress: Progress) -> None:
        self._recipe = recipe
        self._cache = cache
        self._progress = progress
        self._packages: Sequence[Package] = ()

    async def identity(self) -> str:
        """The id of the image, from the packages that there are now."""
        self._progress.step("fetching packages")
        recipe = self._recipe
        wanted = Wanted(
            f"the {recipe.name} guest",
            recipe.suite,
            recipe.architecture,
            recipe.install,
            recipe.follow,
        )
        self._packages = await PackageSource(wanted, self._cache).fetch()
        digest = hashlib.sha256(self._recipe.digest.encode())
        for package in self._packages:
            digest.update(f"{package.name} {package.version} {package.sha256}\n".encode())
        return digest.hexdigest()[:16]

    async def fill(self, new: Path) -> dict[str, Any]:
        """Write the files of the image; return what the manifest is to say about them."""
        self._progress.step("making the initramfs")
        tree = FileTree()
        for package in self._packages:
            await tree.add_package(package.path)
        kernel = Kernel(tree)
        initramfs = Initramfs(self._recipe, tree, kernel)
        await initramfs.collect()
        (new / "kernel").write_bytes(kernel.image)
        with (new / "initrd").open("wb") as out:
            cpio.write(initramfs.nodes, out)
        return {
            "suite": self._recipe.suite,
            "architecture": self._recipe.architecture,
            "kernel_version": kernel.version,
            "cmdline": self._recipe.cmdline,
            "packages": {
                p.name: {"version": p.version, "sha256": p.sha256} for p in self._packages
            },
        }
