# SPDX-License-Identifier: BSD-3-Clause
"""The schema changes by migrations only, and none of them loses anything."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from vhostlab_perf.store import StoreError, engine, opened, schema, url_of
from vhostlab_perf.store.engine import Store
from vhostlab_perf.store.load import import_run

from . import made_runs
from .dumps import dump, rows


def test_the_migrations_make_the_tables_that_the_code_knows(db: str) -> None:
    store = opened(url_of(db), write=True)
    with store.transaction() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, schema.metadata) == []


def _old(connection: sa.Connection) -> dict[str, list[str]]:
    """All rows of the tables as they are, known to the code or not."""
    there = sa.MetaData()
    there.reflect(connection)
    return {t.name: rows(connection, t) for t in there.sorted_tables}


def _columns(connection: sa.Connection) -> dict[str, set[str]]:
    there = sa.MetaData()
    there.reflect(connection)
    return {t.name: {c.name for c in t.columns} for t in there.sorted_tables}


@pytest.mark.parametrize("revision", engine.revisions())
def test_every_earlier_revision_is_brought_up_with_its_data(
    db: str, revision: str, tmp_path: Path
) -> None:
    """A store of that revision with as much of a run as it has room for."""
    full = str(tmp_path / "full.sqlite")
    import_run(opened(url_of(full), write=True), made_runs.run(tmp_path))
    store = Store(url_of(db), write=True)
    with store.transaction() as connection:
        engine.migrate(connection, revision)
        there = _columns(connection)
        with Store(url_of(full), write=False).transaction() as source:
            for table in (t for t in schema.metadata.sorted_tables if t.name in there):
                names = [c.name for c in table.columns if c.name in there[table.name]]
                found = source.execute(sa.select(*(table.c[n] for n in names))).mappings().all()
                if found:
                    columns = [sa.column(n, table.c[n].type) for n in names]
                    old = sa.table(table.name, *columns)
                    connection.execute(sa.insert(old), [dict(row) for row in found])
        before = _old(connection)
    if revision != engine.head():
        with pytest.raises(StoreError, match="run `vhostlab db upgrade`"):
            opened(url_of(db), write=True)
    assert store.upgrade() == (revision, engine.head())
    after = dump(db)
    assert all(len(after[table]) >= len(found) for table, found in before.items() if table in after)
    assert after == dump(full)
    assert store.upgrade() == (engine.head(), engine.head())


def test_a_store_of_a_newer_version_is_left_alone(db: str) -> None:
    store = opened(url_of(db), write=True)
    with store.transaction() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    for act in (lambda: opened(url_of(db), write=True), lambda: opened(url_of(db)), store.upgrade):
        with pytest.raises(StoreError, match="9999, which a newer vhostlab made"):
            act()
