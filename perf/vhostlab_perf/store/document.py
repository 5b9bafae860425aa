# SPDX-License-Identifier: BSD-3-Clause
"""Reads plain JSON strictly: each value is asked for by key and kind, and what is wrong is named.

Unlike ``vhostlab_perf.reader``, which makes a page even of half a result: what a store takes in
stays, so a broken result is refused. Keys that are not asked for are passed over; a newer harness
may write them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from vhostlab_perf.store.errors import BrokenResult

_MISSING: Any = object()

#: What fits the columns of both engines.
_MAX_INTEGER = 2**63 - 1


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number of JSON")


def clean(text: str) -> str:
    """Without what no database can hold: consoles contain NUL, and half of a surrogate pair."""
    return "".join(
        "\N{REPLACEMENT CHARACTER}" if c == "\0" or "\ud800" <= c <= "\udfff" else c for c in text
    )


def clean_all(value: Any) -> Any:
    """The same for all texts of a JSON value."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return [clean_all(v) for v in value]
    if isinstance(value, dict):
        return {clean(k): clean_all(v) for k, v in value.items()}
    return value


class Node:
    """An object of a JSON document, and where in it."""

    def __init__(self, raw: Any, where: str) -> None:
        if not isinstance(raw, dict):
            raise BrokenResult(f"{where} is not an object")
        self.raw: dict[str, Any] = raw
        self.where = where

    @classmethod
    def parse(cls, text: str, where: str) -> Node:
        """Read a document; ``where`` is what errors call it."""
        try:
            return cls(json.loads(text, parse_constant=_refuse_constant), where)
        except (ValueError, RecursionError) as error:
            raise BrokenResult(f"{where} is not JSON: {error}") from error

    def fail(self, key: str, words: str) -> BrokenResult:
        """The error about a key."""
        return BrokenResult(f"{self.where}: {key} {words}")

    def _take(self, key: str, default: Any) -> Any:
        value = self.raw.get(key, default)
        if value is _MISSING:
            raise self.fail(key, "is missing")
        return value

    def text(self, key: str, default: str = _MISSING) -> str:
        """A text; null counts as the default where there is one."""
        value = self._take(key, default)
        if value is None and default is not _MISSING:
            value = default
        if not isinstance(value, str):
            raise self.fail(key, "is not a text")
        return clean(value)

    def one_of(self, key: str, *allowed: str, default: str = _MISSING) -> str:
        """A text of a few."""
        value = self.text(key, default)
        if value not in allowed:
            raise self.fail(key, f"is {value!r}, not one of {', '.join(allowed)}")
        return value

    def number(self, key: str, least: float | None = None) -> float:
        """A finite number."""
        value = self._take(key, _MISSING)
        good = isinstance(value, int | float) and not isinstance(value, bool)
        if not good or not abs(value) <= sys.float_info.max:
            raise self.fail(key, "is not a number")
        if least is not None and value < least:
            raise self.fail(key, f"is less than {least:g}")
        return float(value) + 0.0  # SQLite knows no -0.0

    def integer(self, key: str, most: int = _MAX_INTEGER) -> int:
        """A whole number from 0."""
        value = self._take(key, _MISSING)
        if type(value) is not int or not 0 <= value <= most:
            raise self.fail(key, f"is not a whole number of 0 to {most}")
        return value

    def flag(self, key: str) -> bool:
        """True or false."""
        value = self._take(key, _MISSING)
        if type(value) is not bool:
            raise self.fail(key, "is neither true nor false")
        return value

    def list(self, key: str, default: Any = _MISSING) -> list[Any]:
        """A list of anything."""
        value = self._take(key, default)
        if not isinstance(value, list):
            raise self.fail(key, "is not a list")
        return value

    def each(self, key: str, default: Any = _MISSING) -> Iterator[Node]:
        """A list of objects."""
        for n, raw in enumerate(self.list(key, default)):
            yield Node(raw, f"{self.where}: {key}[{n}]")

    def node(self, key: str) -> Node:
        """An object."""
        return Node(self._take(key, _MISSING), f"{self.where}: {key}")

    def plain(self, key: str) -> dict[str, Any]:
        """An object as it is, fit for a column."""
        value: dict[str, Any] = clean_all(self.node(key).raw)
        return value
