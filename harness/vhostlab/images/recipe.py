# SPDX-License-Identifier: BSD-3-Clause
"""Recipes of micro guests: what packages, what of them, and which own files."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vhostlab.errors import HarnessError
from vhostlab.paths import source_dir

FORMAT = 1
"""Part of every image's id: raised when the builder makes something else of the same recipe."""


@dataclass(frozen=True)
class SeedFile:
    """A file of our own that goes into the guest."""

    path: str
    data: bytes
    executable: bool


@dataclass(frozen=True)
class Recipe:
    """A recipe file, read and checked."""

    name: str
    suite: str
    architecture: str
    install: tuple[str, ...]
    follow: tuple[str, ...]
    kernel_package: str
    boot_modules: tuple[str, ...]
    modules: tuple[str, ...]
    cmdline: str
    busybox: str
    programs: tuple[str, ...]
    files: tuple[str, ...]
    links: dict[str, str]
    seeds: tuple[SeedFile, ...]
    digest: str

    @classmethod
    def load(cls, path: Path) -> Recipe:
        """Read a recipe and its seed files."""
        try:
            text = path.read_bytes()
            table = tomllib.loads(text.decode())
        except OSError as error:
            raise HarnessError(f"cannot read the image recipe {path}: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise HarnessError(f"{path}: {error}") from error
        read = _Reader(path, table)
        seeds = _seeds(path.parent / read.text("initramfs", "seed"))
        digest = hashlib.sha256(b"%d\0" % FORMAT + text)
        for seed in seeds:
            digest.update(f"{seed.path}\0{seed.executable}\0{len(seed.data)}\0".encode())
            digest.update(seed.data)
        recipe = cls(
            name=read.text("name"),
            suite=read.text("packages", "suite"),
            architecture=read.text("packages", "architecture"),
            install=read.texts("packages", "install"),
            follow=read.texts("packages", "follow"),
            kernel_package=read.text("kernel", "package"),
            boot_modules=read.texts("kernel", "boot_modules"),
            modules=read.texts("kernel", "modules"),
            cmdline=" ".join(read.texts("kernel", "cmdline")),
            busybox=read.text("initramfs", "busybox"),
            programs=read.texts("initramfs", "programs"),
            files=read.texts("initramfs", "files"),
            links=read.links("initramfs", "links"),
            seeds=seeds,
            digest=digest.hexdigest(),
        )
        read.finish()
        return recipe


def micro_recipe() -> Path:
    """The recipe of the default guest."""
    return source_dir() / "vm-images" / "micro.toml"


class _Reader:
    """Takes values out of a table by path, checks their types, and reports what nobody took."""

    def __init__(self, path: Path, table: dict[str, Any]) -> None:
        self._path = path
        self._table = table
        self._taken: set[tuple[str, ...]] = set()

    def text(self, *keys: str) -> str:
        value = self._take(keys)
        if not isinstance(value, str) or not value:
            raise self._bad(keys, "a non-empty string")
        return value

    def texts(self, *keys: str) -> tuple[str, ...]:
        value = self._take(keys)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._bad(keys, "a list of strings")
        return tuple(value)

    def links(self, *keys: str) -> dict[str, str]:
        value = self._take(keys)
        if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
            raise self._bad(keys, "a table of strings")
        return dict(value)

    def finish(self) -> None:
        """Complain about keys that have no meaning."""
        for key, value in self._table.items():
            inner = value if isinstance(value, dict) else {}
            unknown: list[tuple[str, ...]] = [
                (key, name) for name in inner if (key, name) not in self._taken
            ]
            if not inner and (key,) not in self._taken:
                unknown = [(key,)]
            if unknown:
                raise HarnessError(f"{self._path}: unknown key '{'.'.join(unknown[0])}'")

    def _take(self, keys: tuple[str, ...]) -> object:
        self._taken.add(keys)
        value: object = self._table
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def _bad(self, keys: tuple[str, ...], wanted: str) -> HarnessError:
        return HarnessError(f"{self._path}: '{'.'.join(keys)}' must be {wanted}")


def _seeds(directory: Path) -> tuple[SeedFile, ...]:
    if not directory.is_dir():
        raise HarnessError(f"the recipe's seed directory is missing: {directory}")
    return tuple(
        SeedFile(
            f"/{path.relative_to(directory)}", path.read_bytes(), bool(path.stat().st_mode & 0o100)
        )
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    )
