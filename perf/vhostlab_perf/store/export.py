# SPDX-License-Identifier: BSD-3-Clause
"""Measurements as flat rows, for a spreadsheet or a program: one row per run, cell and metric."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from typing import Any, TextIO

import sqlalchemy as sa

from vhostlab_perf.store import schema
from vhostlab_perf.store.engine import Store

COLUMNS = (
    "run", "started", "suite", "timing", "accel", "fingerprint", "target", "version", "program",
    "revision", "cell", "params", "stage", "steady", "metric", "unit", "direction", "value",
)  # fmt: skip


def measurements(store: Store) -> Iterator[dict[str, Any]]:
    """All of them, functional ones too: ``timing`` tells them apart. In the order of time."""
    m, r, c = schema.measurements.c, schema.runs.c, schema.cell_results.c
    b = schema.builds.c
    question = (
        sa.select(
            m.run, r.started, r.suite, r.timing, schema.environments.c.accel, r.fingerprint,
            b.target, b.version, b.program, b.revision, m.cell, schema.cells.c.params, c.stage,
            c.steady, m.metric, m.unit, m.direction, m.value, c.position,
        )
        .select_from(schema.measurements.join(schema.cell_results).join(schema.cells))
        .join(schema.runs, r.id == m.run)
        .join(schema.builds, b.id == r.build)
        .join(schema.environments, schema.environments.c.fingerprint == r.fingerprint)
    )  # fmt: skip
    with store.transaction() as connection:
        found = connection.execute(question).all()
    for row in sorted(found, key=lambda x: (x.started, x.run, x.position, x.metric)):
        yield {name: getattr(row, name) for name in COLUMNS}


def write_csv(store: Store, out: TextIO) -> None:
    """With a line of headings; the parameters are JSON in one column."""
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in measurements(store):
        writer.writerow(row | {"params": json.dumps(row["params"], separators=(",", ":"))})


def write_json(store: Store, out: TextIO) -> None:
    """A list of objects, one per line."""
    out.write("[")
    for n, row in enumerate(measurements(store)):
        out.write((",\n" if n else "\n") + json.dumps(row))
    out.write("\n]\n")
