# SPDX-License-Identifier: BSD-3-Clause
"""The whole content of a store, to compare it with that of another one."""

from __future__ import annotations

import zlib
from typing import Any

import sqlalchemy as sa
from vhostlab_perf.store import Store, schema, url_of


def value(raw: Any) -> Any:
    """Packed columns by what is in them."""
    return zlib.decompress(raw) if isinstance(raw, bytes) else raw


def rows(connection: sa.Connection, table: sa.Table) -> list[str]:
    names = sorted(c.name for c in table.columns)
    found = connection.execute(sa.select(*(table.c[name] for name in names)))
    return sorted(repr([(n, value(v)) for n, v in zip(names, r, strict=True)]) for r in found)


def dump(db: str) -> dict[str, list[str]]:
    """Table -> its rows, in an order that does not depend on the engine."""
    with Store(url_of(db), write=False).transaction() as connection:
        return {t.name: rows(connection, t) for t in schema.metadata.sorted_tables}
