# SPDX-License-Identifier: BSD-3-Clause
"""Recipe files: TOML whose every key is checked, and which may build on another recipe."""

from __future__ import annotations

import hashlib
import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vhostlab.errors import HarnessError

_DEPTH_MAX = 4


@dataclass(frozen=True)
class SeedFile:
    """A file of our own that goes into the guest."""

    path: str
    data: bytes
    executable: bool


class Reader:
    """Takes values out of a recipe by path, checks their types, and reports what nobody took.

    ``extends = "other.toml"`` takes over the tables of another recipe; what stands in both is what
    the extending one says.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._table = _extended(path, 0)
        self._table.pop("extends", None)
        self._taken: set[tuple[str, ...]] = set()
        self._digest = hashlib.sha256()

    def text(self, *keys: str, default: str | None = None) -> str:
        value = self._take(keys)
        if value is None and default is not None:
            return default
        if not isinstance(value, str) or not value:
            raise self._bad(keys, "a non-empty string")
        return value

    def choice(self, *keys: str, of: tuple[str, ...], default: str | None = None) -> str:
        value = self.text(*keys, default=default)
        if value not in of:
            raise self._bad(keys, f"one of {', '.join(of)}")
        return value

    def number(self, *keys: str, default: int | None = None) -> int:
        value = self._take(keys)
        if value is None and default is not None:
            return default
        if type(value) is not int or value <= 0:
            raise self._bad(keys, "a positive number")
        return value

    def texts(self, *keys: str, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        value = self._take(keys)
        if value is None and default is not None:
            return default
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._bad(keys, "a list of strings")
        return tuple(value)

    def links(self, *keys: str) -> dict[str, str]:
        value = self._take(keys)
        if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
            raise self._bad(keys, "a table of strings")
        return dict(value)

    def seeds(self, *keys: str) -> tuple[SeedFile, ...]:
        """The files of the directory beside the recipe that is named there."""
        directory = self.path.parent / self.text(*keys)
        if not directory.is_dir():
            raise HarnessError(f"the recipe's seed directory is missing: {directory}")
        found = tuple(
            SeedFile(
                f"/{path.relative_to(directory)}",
                path.read_bytes(),
                bool(path.stat().st_mode & 0o100),
            )
            for path in sorted(directory.rglob("*"))
            if path.is_file()
        )
        for seed in found:
            self._digest.update(f"{seed.path}\0{seed.executable}\0{len(seed.data)}\0".encode())
            self._digest.update(seed.data)
        return found

    def finish(self, format_: int) -> str:
        """Complain about keys that have no meaning; return the digest of the recipe."""
        for key, value in self._table.items():
            inner = value if isinstance(value, dict) else {}
            unknown: list[tuple[str, ...]] = [
                (key, name) for name in inner if (key, name) not in self._taken
            ]
            if not inner and (key,) not in self._taken:
                unknown = [(key,)]
            if unknown:
                raise HarnessError(f"{self.path}: unknown key '{'.'.join(unknown[0])}'")
        text = json.dumps([format_, self._table], sort_keys=True)
        return hashlib.sha256(text.encode() + self._digest.digest()).hexdigest()

    def _take(self, keys: tuple[str, ...]) -> object:
        self._taken.add(keys)
        value: object = self._table
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def _bad(self, keys: tuple[str, ...], wanted: str) -> HarnessError:
        return HarnessError(f"{self.path}: '{'.'.join(keys)}' must be {wanted}")


def _extended(path: Path, depth: int) -> dict[str, Any]:
    table = _parsed(path)
    base = table.get("extends")
    if base is None:
        return table
    if not isinstance(base, str) or depth >= _DEPTH_MAX:
        raise HarnessError(f"{path}: 'extends' must name a recipe beside it, not in a circle")
    return _merged(_extended(path.parent / base, depth + 1), table)


def _parsed(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        raise HarnessError(f"cannot read the image recipe {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise HarnessError(f"{path}: {error}") from error


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        both = isinstance(value, dict) and isinstance(below, dict)
        merged[key] = _merged(below, value) if both and below is not None else value
    return merged
