# SPDX-License-Identifier: BSD-3-Clause
"""Puts the root file system of a micro guest together out of package files and our own."""

from __future__ import annotations

import posixpath
import tempfile
from pathlib import Path

from vhostlab.errors import HarnessError
from vhostlab.images import cpio
from vhostlab.images.elf import is_elf, linkage
from vhostlab.images.kernel import Kernel, modules_alias, modules_dep
from vhostlab.images.recipe import MicroRecipe
from vhostlab.images.tree import FileTree, normal
from vhostlab.process import output_of

LIBRARIES = "/usr/lib/x86_64-linux-gnu"
_LIBRARY_DIRECTORIES = (LIBRARIES, f"{LIBRARIES}/ceph", "/usr/lib", "/usr/lib64")
_EMPTY_DIRECTORIES = ("/dev", "/proc", "/sys", "/run", "/tmp", "/mnt", "/root")


class Initramfs:
    """Collects entries; ``nodes`` is what goes into the archive."""

    def __init__(self, recipe: MicroRecipe, tree: FileTree, kernel: Kernel) -> None:
        self._recipe = recipe
        self._tree = tree
        self._kernel = kernel
        self.nodes: dict[str, cpio.Node] = {}

    async def collect(self) -> None:
        """Add everything that the recipe names."""
        for directory in _EMPTY_DIRECTORIES:
            self.nodes[directory] = cpio.directory()
        for name in ("bin", "sbin", "lib", "lib64"):
            self.nodes[f"/{name}"] = cpio.symlink(f"usr/{name}")
        # What the kernel opens for init before anything is mounted.
        self.nodes["/dev/console"] = cpio.char_device(5, 1)
        await self._add_busybox()
        self._add_programs()
        self._add_modules()
        for path in self._recipe.files:
            self.nodes[normal(path)] = cpio.regular(self._tree.read(path))
        for seed in self._recipe.seeds:
            self.nodes[normal(seed.path)] = cpio.regular(
                seed.data, 0o755 if seed.executable else 0o644
            )
        for path, target in self._recipe.links.items():
            self.nodes[normal(path)] = cpio.symlink(target)

    async def _add_busybox(self) -> None:
        data = self._tree.read(self._recipe.busybox)
        self.nodes["/usr/bin/busybox"] = cpio.regular(data, 0o755)
        for applet in await _applets(data):
            self.nodes[f"/usr/bin/{applet}"] = cpio.symlink("busybox")

    def _add_programs(self) -> None:
        for pattern in self._recipe.programs:
            paths = self._tree.matching(pattern)
            if not paths:
                raise HarnessError(f"recipe {self._recipe.name}: no package has {pattern}")
            for path in paths:
                data = self._tree.read(path)
                # A program replaces the applet of its name, wherever busybox put that.
                self.nodes.pop(f"/usr/bin/{posixpath.basename(path)}", None)
                self.nodes[path] = cpio.regular(data, 0o755)
                if is_elf(data):
                    self._add_libraries(path, data)

    def _add_libraries(self, user: str, data: bytes) -> None:
        found = linkage(data)
        if found.interpreter:
            # A fixed path, also where the rest of the C library is not: keep it as it is named.
            path = normal(found.interpreter)
            self.nodes.setdefault(path, cpio.regular(self._tree.read(path), 0o755))
        for name in found.needed:
            # All in one directory that the loader looks in by itself, whatever the run path says.
            path = f"{LIBRARIES}/{name}"
            if path in self.nodes:
                continue
            library = self._tree.find_in(_LIBRARY_DIRECTORIES, name)
            if library is None:
                raise HarnessError(
                    f"recipe {self._recipe.name}: {user} needs {name}, which no package has",
                    "add its package to 'follow'",
                )
            self.nodes[path] = cpio.regular(library, 0o755)
            self._add_libraries(name, library)

    def _add_modules(self) -> None:
        boot = self._kernel.closure(self._recipe.boot_modules)
        every = self._kernel.closure((*self._recipe.boot_modules, *self._recipe.modules))
        directory = self._kernel.directory
        for module in every:
            self.nodes[module.path] = cpio.regular(module.data)
        self.nodes[f"{directory}/modules.dep"] = cpio.regular(modules_dep(every, directory))
        self.nodes[f"{directory}/modules.alias"] = cpio.regular(modules_alias(every))
        self.nodes[f"{directory}/modules.symbols"] = cpio.regular(b"")
        order = "".join(f"{module.path}\n" for module in boot)
        self.nodes["/etc/modules.boot"] = cpio.regular(order.encode())


async def _applets(busybox: bytes) -> list[str]:
    """The names that this busybox answers to; asked of the program itself."""
    with tempfile.TemporaryDirectory(prefix="vl-busybox-") as directory:
        program = Path(directory) / "busybox"
        program.write_bytes(busybox)
        program.chmod(0o755)
        names = (await output_of([str(program), "--list"], 20.0)).split()
    return [name for name in names if name != "busybox"]
