# SPDX-License-Identifier: BSD-3-Clause
"""Takes in what was said about two builds: ab.json and gate.json."""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path

import sqlalchemy as sa

from vhostlab_perf.store import schema
from vhostlab_perf.store.document import Node
from vhostlab_perf.store.engine import Store
from vhostlab_perf.store.errors import BrokenResult
from vhostlab_perf.store.load import Outcome
from vhostlab_perf.store.rows import SCHEMA_VERSION, Row, contents, text_of

#: File -> the verdicts that can be in it.
FILES = {
    "ab.json": ("pass", "fail", "inconclusive", "environment"),
    "gate.json": ("pass", "fail", "inconclusive", "could not run"),
}

_NAMES = ("revision", "name", "commit", "program")


def read(path: Path) -> Row:
    """The row of a verdict; raises BrokenResult with one line that names the file."""
    content = contents(path)
    root = Node.parse(text_of(content, path), str(path))
    if root.raw.get("schema_version") != SCHEMA_VERSION:
        raise BrokenResult(
            f"{path} has schema_version {root.raw.get('schema_version')!r}, "
            f"this reads {SCHEMA_VERSION}"
        )
    base, head = root.node("base"), root.node("head")
    return {
        "id": hashlib.sha256(content).hexdigest(),
        "kind": root.one_of("kind", "ab", "aa") if path.name == "ab.json" else "gate",
        "started": root.text("started"),
        "seconds": root.number("seconds", 0),
        "verdict": root.one_of("verdict", *FILES[path.name]),
        "reason": root.text("reason"),
        "base": _name(base),
        "head": _name(head),
        "base_build": base.text("build_id", ""),
        "head_build": head.text("build_id", ""),
        "fingerprint": root.text("fingerprint", ""),
        "command": root.text("command"),
        "document": zlib.compress(content, 6),
    }


def _name(build: Node) -> str:
    """ab says revision, gate says name; a program that was given has its path only."""
    return next((text for key in _NAMES if (text := build.text(key, ""))), "")


def import_verdict(store: Store, path: Path) -> tuple[Outcome, Row]:
    """Take one in; the second time nothing changes."""
    row = read(path)
    key = schema.verdicts.c.id
    with store.transaction() as connection:
        there = connection.execute(sa.select(key).where(key == row["id"])).scalar()
        if there is None:
            connection.execute(sa.insert(schema.verdicts), [row])
    return (Outcome.NEW if there is None else Outcome.SAME), row
