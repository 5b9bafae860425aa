# SPDX-License-Identifier: BSD-3-Clause
"""The kernel of a guest and its modules, out of a distribution's kernel package."""

from __future__ import annotations

import lzma
import posixpath
import struct
from dataclasses import dataclass

from vhostlab.errors import HarnessError
from vhostlab.images.tree import FileTree

_MODINFO = b".modinfo\0"
_SUFFIXES = (".ko", ".ko.xz")


@dataclass(frozen=True)
class Module:
    """One loadable module."""

    name: str
    path: str
    data: bytes
    depends: tuple[str, ...]
    aliases: tuple[str, ...]


class Kernel:
    """The one kernel in a file tree."""

    def __init__(self, tree: FileTree) -> None:
        # In Debian until 13, and after it.
        images = tree.matching("/boot/vmlinuz-*") + tree.matching("/usr/lib/modules/*/vmlinuz")
        if len(images) != 1:
            raise HarnessError(f"expected one kernel among the packages, found {len(images)}")
        self.version = (
            images[0].removeprefix("/boot/vmlinuz-").removeprefix("/usr/lib/modules/").split("/")[0]
        )
        self.image = tree.read(images[0])
        self.directory = f"/usr/lib/modules/{self.version}"
        self._tree = tree
        self._paths = {
            _module_name(path): path
            for suffix in _SUFFIXES
            for path in tree.matching(f"{self.directory}/*{suffix}")
        }
        builtin = tree.find(f"{self.directory}/modules.builtin") or b""
        self._builtin = {_module_name(line) for line in builtin.decode().split()}

    def closure(self, names: tuple[str, ...]) -> list[Module]:
        """The modules ``names`` and all they depend on, each after what it depends on."""
        done: dict[str, Module] = {}
        for name in names:
            self._visit(name, done, ())
        return list(done.values())

    def _visit(self, name: str, done: dict[str, Module], above: tuple[str, ...]) -> None:
        if name in done or name in self._builtin:
            return
        if name in above:
            raise HarnessError(f"modules depend on each other: {' -> '.join((*above, name))}")
        path = self._paths.get(name)
        if path is None:
            raise HarnessError(f"kernel {self.version} has no module {name}")
        data = self._tree.read(path)
        if path.endswith(".xz"):
            # busybox's insmod is given what the kernel loads, and the initramfs is not compressed
            path, data = path.removesuffix(".xz"), lzma.decompress(data)
        fields = _modinfo(data)
        depends = tuple(
            d.replace("-", "_") for d in ",".join(fields.get("depends", [])).split(",") if d
        )
        for dependency in depends:
            self._visit(dependency, done, (*above, name))
        done[name] = Module(name, path, data, depends, tuple(fields.get("alias", [])))


def modules_dep(modules: list[Module], directory: str) -> bytes:
    """The file by which modprobe finds a module and what must be loaded before it."""
    by_name = {module.name: module for module in modules}

    def all_before(module: Module) -> list[Module]:
        found: dict[str, Module] = {}
        for name in module.depends:
            if name in by_name:
                found[name] = by_name[name]
                found.update({m.name: m for m in all_before(by_name[name])})
        return list(found.values())

    lines = [
        f"{_relative(module, directory)}:"
        + "".join(f" {_relative(other, directory)}" for other in all_before(module))
        for module in modules
    ]
    return "".join(f"{line}\n" for line in lines).encode()


def modules_alias(modules: list[Module]) -> bytes:
    """The file by which the kernel's requests ("fs-xfs") find a module."""
    return "".join(f"alias {a} {m.name}\n" for m in modules for a in m.aliases).encode()


def _modinfo(data: bytes) -> dict[str, list[str]]:
    """The NUL-separated key=value strings of a module's .modinfo section."""
    (table,) = struct.unpack_from("<Q", data, 0x28)
    size, count, names_index = struct.unpack_from("<HHH", data, 0x3A)
    headers = [struct.unpack_from("<IIQQQQ", data, table + i * size) for i in range(count)]
    names_at = headers[names_index][4]
    for header in headers:
        name_at = names_at + header[0]
        if data[name_at : name_at + len(_MODINFO)] == _MODINFO:
            section = data[header[4] : header[4] + header[5]]
            fields: dict[str, list[str]] = {}
            for entry in section.decode(errors="replace").split("\0"):
                key, equals, value = entry.partition("=")
                if equals:
                    fields.setdefault(key, []).append(value)
            return fields
    raise HarnessError("a kernel module has no .modinfo section")


def _module_name(path: str) -> str:
    return posixpath.basename(path).removesuffix(".xz").removesuffix(".ko").replace("-", "_")


def _relative(module: Module, directory: str) -> str:
    return posixpath.relpath(module.path, directory)
