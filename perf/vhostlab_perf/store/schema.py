# SPDX-License-Identifier: BSD-3-Clause
"""The tables of the store.

Concepts: an *environment* is what numbers were made on, a *build* what was measured, a *cell* what
was asked; a *run* joins them, and a row of ``cell_results`` is one cell in one run. So the identity
of a result is (cell, environment, build, run). All keys are the ones that the results carry
themselves; there are no numbers that only one database knows, and two stores that took in the same
runs hold the same rows.

Times are texts in ISO 8601, UTC: they sort, and both engines keep them as they are. The
migrations (``migrations/versions``) make these tables; a test holds the two together.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _of_run() -> Column[str]:
    return Column("run", String, ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)


def _of(table: str, *columns: str) -> ForeignKeyConstraint:
    """What goes when the row it belongs to goes."""
    there = {"scenarios": ("run", "position"), "cell_results": ("run", "cell")}[table]
    return ForeignKeyConstraint(columns, [f"{table}.{c}" for c in there], ondelete="CASCADE")


environments = Table(
    "environments",
    metadata,
    Column("fingerprint", String, primary_key=True),
    Column("accel", String, nullable=False),
    Column("facts", JSON, nullable=False),
)

builds = Table(
    "builds",
    metadata,
    # a hash of the other columns
    Column("id", String, primary_key=True),
    Column("target", String, nullable=False),
    Column("version", String, nullable=False),
    # a hash of the program that was measured; empty where the result does not say
    Column("program", String, nullable=False),
    # of the source tree it was built from; empty where the result does not say
    Column("revision", String, nullable=False),
)

cells = Table(
    "cells",
    metadata,
    Column("id", String, primary_key=True),
    Column("params", JSON, nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("id", String, primary_key=True),
    # SHA-256 of result.json: the same run again, or another one of the same name?
    Column("digest", String, nullable=False),
    Column("started", String, nullable=False, index=True),
    Column("seconds", Double, nullable=False),
    Column("suite", String, nullable=False),
    Column("status", String, nullable=False),
    Column("command", Text, nullable=False),
    Column("build", String, ForeignKey("builds.id"), nullable=False, index=True),
    Column("fingerprint", String, ForeignKey("environments.fingerprint"), nullable=False),
    # performance | functional; only the former may enter a series
    Column("timing", String, nullable=False),
)

scenarios = Table(
    "scenarios",
    metadata,
    _of_run(),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("name", String, nullable=False),
    Column("stage", String, nullable=False),
    Column("status", String, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("reason", Text, nullable=False),
    Column("replay", Text, nullable=False),
)

checks = Table(
    "checks",
    metadata,
    Column("run", String, primary_key=True),
    Column("scenario", Integer, primary_key=True, autoincrement=False),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False),
    Column("passed", Boolean, nullable=False),
    Column("detail", Text, nullable=False),
    _of("scenarios", "run", "scenario"),
)

scenario_measurements = Table(
    "scenario_measurements",
    metadata,
    Column("run", String, primary_key=True),
    Column("scenario", Integer, primary_key=True, autoincrement=False),
    Column("metric", String, primary_key=True),
    Column("unit", String, nullable=False),
    Column("direction", String, nullable=False),
    Column("value", Double, nullable=False),
    _of("scenarios", "run", "scenario"),
)

cell_results = Table(
    "cell_results",
    metadata,
    _of_run(),
    Column("cell", String, ForeignKey("cells.id"), primary_key=True),
    Column("position", Integer, nullable=False),
    Column("stage", String, nullable=False),
    # when fio began; empty where the result does not say
    Column("started", String, nullable=False),
    # steady | not steady | unknown
    Column("steady", String, nullable=False),
    # host cores of target and vCPUs; empty where the result does not say
    Column("placement", Text, nullable=False),
    Column("replay", Text, nullable=False),
    # of fio's own json+, in `files`
    Column("fio_file", String, nullable=False),
)

measurements = Table(
    "measurements",
    metadata,
    Column("run", String, primary_key=True),
    Column("cell", String, primary_key=True),
    Column("metric", String, primary_key=True),
    Column("unit", String, nullable=False),
    Column("direction", String, nullable=False),
    Column("value", Double, nullable=False),
    _of("cell_results", "run", "cell"),
    # the way of a history: all runs of one cell and metric
    Index(None, "cell", "metric"),
)

latencies = Table(
    "latencies",
    metadata,
    Column("run", String, primary_key=True),
    Column("cell", String, primary_key=True),
    # read | write | trim
    Column("way", String, primary_key=True),
    Column("samples", BigInteger, nullable=False),
    Column("min_ns", BigInteger, nullable=False),
    Column("max_ns", BigInteger, nullable=False),
    Column("mean_ns", Double, nullable=False),
    # store/bins.py packs and unpacks them
    Column("bins", LargeBinary, nullable=False),
    _of("cell_results", "run", "cell"),
)

series = Table(
    "series",
    metadata,
    Column("run", String, primary_key=True),
    Column("cell", String, primary_key=True),
    # what was sampled: iops, and of several guests that of each
    Column("name", String, primary_key=True),
    # one value per second, as a packed JSON list
    Column("points", LargeBinary, nullable=False),
    _of("cell_results", "run", "cell"),
)

guests = Table(
    "guests",
    metadata,
    _of_run(),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("stage", String, nullable=False),
    Column("argv", JSON, nullable=False),
    Column("boot_seconds", Double, nullable=False),
    Column("kernel", String, nullable=False),
)

queue_counters = Table(
    "queue_counters",
    metadata,
    _of_run(),
    Column("stage", String, primary_key=True),
    Column("controller", String, primary_key=True),
    Column("queue", Integer, primary_key=True, autoincrement=False),
    Column("counter", String, primary_key=True),
    Column("value", BigInteger, nullable=False),
)

left_out = Table(
    "left_out",
    metadata,
    _of_run(),
    Column("cell", String, primary_key=True),
    Column("params", JSON, nullable=False),
    Column("reason", Text, nullable=False),
)

files = Table(
    "files",
    metadata,
    _of_run(),
    # as in the run's directory: result.json, fio/<cell>.json
    Column("path", String, primary_key=True),
    Column("content", LargeBinary, nullable=False),
)

#: What was said about two builds: by ``vhostlab ab`` (ab.json) and ``vhostlab gate`` (gate.json).
verdicts = Table(
    "verdicts",
    metadata,
    # SHA-256 of the file
    Column("id", String, primary_key=True),
    # ab | aa (the same build twice) | gate
    Column("kind", String, nullable=False),
    Column("started", String, nullable=False, index=True),
    Column("seconds", Double, nullable=False),
    Column("verdict", String, nullable=False),
    Column("reason", Text, nullable=False),
    # as they were asked for
    Column("base", String, nullable=False),
    Column("head", String, nullable=False),
    # what the linker calls them; empty where nothing was built
    Column("base_build", String, nullable=False),
    Column("head_build", String, nullable=False),
    # empty for a gate, which may have measured on several
    Column("fingerprint", String, nullable=False),
    Column("command", Text, nullable=False),
    # the whole file
    Column("document", LargeBinary, nullable=False),
)
