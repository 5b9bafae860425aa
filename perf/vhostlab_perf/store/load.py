# SPDX-License-Identifier: BSD-3-Clause
"""Takes a run into the store: all of it or nothing, and the second time nothing changes."""

from __future__ import annotations

import enum
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from vhostlab_perf.store import rows as reading
from vhostlab_perf.store import schema
from vhostlab_perf.store.engine import Store
from vhostlab_perf.store.errors import BrokenResult, StoreError
from vhostlab_perf.store.rows import Row, Rows


class Outcome(enum.StrEnum):
    """What an import came to."""

    NEW = "imported"
    SAME = "already there"
    REPLACED = "replaced"


#: What many runs share: the table, its key, and what must be equal wherever the key is.
_SHARED = (
    (schema.environments, "fingerprint", "facts"),
    (schema.builds, "id", "version"),
    (schema.cells, "id", "params"),
)

#: The rest, so that a row comes after those it refers to.
_OWN = [t for t in schema.metadata.sorted_tables if t not in {shared for shared, _, _ in _SHARED}]


def import_run(store: Store, path: Path, *, replace: bool = False) -> tuple[Outcome, Rows]:
    """Take in the run whose result.json lies at ``path``, or in it.

    A run of the same name with other contents is refused, unless ``replace`` is given and it is
    the same run that went on (``run --resume``): begun at the same time, on the same target.
    """
    found = reading.read(path)
    with store.transaction() as connection:
        outcome = _make_room(connection, found, path, replace)
        if outcome is not Outcome.SAME:
            for table, key, content in _SHARED:
                _share(connection, table, key, content, found, path)
            for table in _OWN:
                if rows := found.of(table):
                    connection.execute(sa.insert(table), rows)
    return outcome, found


def _make_room(connection: sa.Connection, found: Rows, path: Path, replace: bool) -> Outcome:
    runs, builds = schema.runs.c, schema.builds.c
    there = connection.execute(
        sa.select(runs.digest, runs.started, builds.target)
        .join_from(schema.runs, schema.builds)
        .where(runs.id == found.run)
    ).one_or_none()
    if there is None:
        return Outcome.NEW
    if there.digest == found.digest:
        return Outcome.SAME
    if not replace:
        raise StoreError(
            f"{path}: the store has a run {found.run} with other contents; "
            "--replace takes this one if it is the same run that went on"
        )
    if (there.started, there.target) != (found.started, found.target):
        raise StoreError(
            f"{path}: the store has another run {found.run}, of {there.target} begun at "
            f"{there.started}; rename this one's run_id"
        )
    connection.execute(sa.delete(schema.runs).where(runs.id == found.run))
    return Outcome.REPLACED


def _share(
    connection: sa.Connection, table: sa.Table, key: str, content: str, found: Rows, path: Path
) -> None:
    """Add what is not there yet. What has the same key and differs was tampered with."""
    wanted = {row[key]: row for row in found.of(table)}
    if not wanted:
        return
    _insert_new(connection, table, key, list(wanted.values()))
    ids, values = table.c[key], table.c[content]
    for name, there in connection.execute(sa.select(ids, values).where(ids.in_(wanted))):
        if there != wanted[name][content]:
            raise BrokenResult(
                f"{path}: {table.name} {name} has other {content} than the store knows it with"
            )


def _insert_new(connection: sa.Connection, table: sa.Table, key: str, rows: list[Row]) -> None:
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    connection.execute(
        dialect.insert(table).on_conflict_do_nothing(index_elements=[key]),
        sorted(rows, key=lambda row: str(row[key])),
    )
