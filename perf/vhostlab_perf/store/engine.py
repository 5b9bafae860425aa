# SPDX-License-Identifier: BSD-3-Clause
"""Opens a store: SQLite (a file) or PostgreSQL (a URL), and keeps its schema up to date.

One process writes at a time, on both engines: SQLite by taking its write lock when the transaction
begins, PostgreSQL by an advisory lock of the transaction. Writers wait for each other, nobody runs
into a deadlock, and readers are not kept waiting for longer than a commit.
"""

from __future__ import annotations

import functools
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import event
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError, SQLAlchemyError

from vhostlab_perf.store.errors import StoreError

#: Says which store, where --db does not.
VARIABLE = "VHOSTLAB_DB"

#: What is used where nothing says which.
DEFAULT = "results/history.sqlite"

#: How long a writer waits for the others; an import takes a fraction of a second.
BUSY_S = 120

#: Any number, as long as nobody else in the database uses it: "vhostlab" on a telephone's keys.
ADVISORY_LOCK = 84678522

MIGRATIONS = Path(__file__).parent / "migrations"


def url_of(text: str) -> sa.URL:
    """A URL, or the path of an SQLite file."""
    if "://" not in text:
        return sa.URL.create("sqlite", database=text)
    try:
        url = sa.make_url(text)
    except (ArgumentError, ValueError):
        raise StoreError("the database's URL cannot be read; it looks like "
                         "postgresql://USER@HOST/NAME or sqlite:///FILE") from None  # fmt: skip
    if url.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        return url.set(drivername="postgresql+psycopg")
    if url.drivername == "sqlite" and url.database and url.database != ":memory:":
        return url
    raise StoreError(
        f"no store can be kept in {url.drivername}; give a postgresql:// URL or a file"
    )


def chosen_url(option: str | None) -> sa.URL:
    """What --db says, else the environment, else the default."""
    return url_of(option or os.environ.get(VARIABLE) or DEFAULT)


def _sqlite(url: sa.URL, *, write: bool) -> sa.Engine:
    path = Path(str(url.database)).absolute()
    if write:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot make {path.parent}: {error.strerror}") from error
    elif not path.exists():
        raise StoreError(f"there is no store {path}; `vhostlab db import RUN_DIR` makes one")
    engine = sa.create_engine(
        sa.URL.create(
            "sqlite",
            database=f"file:{path.as_posix().replace('%', '%25').replace('?', '%3f')}",
            query={"mode": "rwc" if write else "ro", "uri": "true"},
        ),
        connect_args={"timeout": BUSY_S},
        poolclass=sa.NullPool,
    )

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _: Any) -> None:
        # the driver is not to begin transactions of its own
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def _begun(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


def _postgresql(url: sa.URL, *, write: bool) -> sa.Engine:
    engine = sa.create_engine(url, poolclass=sa.NullPool)

    @event.listens_for(engine, "begin")
    def _begun(connection: sa.Connection) -> None:
        if write:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})")
        else:
            # one reader sees one state, however many questions it asks
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")

    return engine


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


@functools.cache
def head() -> str:
    """The revision that this version works with."""
    return str(ScriptDirectory.from_config(_config()).get_current_head())


@functools.cache
def revisions() -> tuple[str, ...]:
    """All revisions, the oldest first."""
    known = ScriptDirectory.from_config(_config()).walk_revisions()
    return tuple(reversed([str(r.revision) for r in known]))


def migrate(connection: sa.Connection, revision: str = "head") -> None:
    """Bring the schema to a revision, within the transaction that is open."""
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def one_line(error: SQLAlchemyError) -> str:
    """What the driver said, in one line and without the statement."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return " ".join(str(cause).split()) or type(cause).__name__


class Store:
    """A store that is there; :func:`opened` makes it."""

    def __init__(self, url: sa.URL, *, write: bool) -> None:
        self.url = url
        make = _sqlite if url.drivername == "sqlite" else _postgresql
        self._engine = make(url, write=write)

    def __str__(self) -> str:
        if self.url.drivername == "sqlite":
            return str(self.url.database)
        return self.url.set(drivername="postgresql").render_as_string(hide_password=True)

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """All or nothing; a database that cannot do it is one line."""
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise StoreError(f"store {self}: {one_line(error)}") from error

    def revision(self) -> str | None:
        """The revision of the schema; None where there is none yet."""
        with self.transaction() as connection:
            return MigrationContext.configure(connection).get_current_revision()

    def upgrade(self) -> tuple[str | None, str]:
        """Bring the schema up to date; from which revision to which."""
        with self.transaction() as connection:
            before = MigrationContext.configure(connection).get_current_revision()
            self._refuse_unknown(before)
            migrate(connection)
        return before, head()

    def vacuum(self) -> None:
        """Give back the room of what was deleted."""
        try:
            connection = self._engine.raw_connection()
            try:
                driver = connection.driver_connection
                if isinstance(driver, psycopg.Connection):
                    driver.autocommit = True
                connection.cursor().execute("VACUUM")
            finally:
                connection.close()
        except (SQLAlchemyError, sqlite3.Error, psycopg.Error) as error:
            raise StoreError(f"store {self}: {' '.join(str(error).split())}") from error

    def _refuse_unknown(self, revision: str | None) -> None:
        if revision is not None and revision not in revisions():
            raise StoreError(
                f"store {self} has revision {revision}, which a newer vhostlab made; "
                f"this one knows up to {head()}"
            )

    def check(self) -> None:
        """Refuse a store of another revision."""
        found = self.revision()
        self._refuse_unknown(found)
        if found is None:
            raise StoreError(f"store {self} is empty; `vhostlab db import RUN_DIR` fills it")
        if found != head():
            raise StoreError(
                f"store {self} has revision {found}, this needs {head()}; run `vhostlab db upgrade`"
            )


def opened(url: sa.URL, *, write: bool = False) -> Store:
    """A store of the right revision. A writer makes one where there is none."""
    store = Store(url, write=write)
    try:
        if write and store.revision() is None:
            store.upgrade()
        store.check()
    except OperationalError as error:
        raise StoreError(f"store {store}: {one_line(error)}") from error
    return store
