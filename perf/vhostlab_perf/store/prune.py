# SPDX-License-Identifier: BSD-3-Clause
"""What may go when it is old.

The rule: of runs older than a number of days, what is big and in no series goes: functional runs
as a whole, and of all others the raw files and the per-second series. Values, histograms, checks
and environments of performance runs stay for good.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from vhostlab_perf.store import schema
from vhostlab_perf.store.engine import Store


@dataclass(frozen=True)
class Pruned:
    """What went, or would go."""

    before: str
    runs: int
    files: int
    series: int


def prune(store: Store, days: int, *, dry: bool, now: datetime | None = None) -> Pruned:
    """Apply the rule, or say what it would do."""
    before = ((now or datetime.now(UTC)) - timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")
    old = sa.select(schema.runs.c.id).where(schema.runs.c.started < before)
    functional = schema.runs.c.id.in_(old.where(schema.runs.c.timing == "functional"))
    with store.transaction() as connection:

        def go(table: sa.Table, which: sa.ColumnElement[bool]) -> int:
            question = sa.select(sa.func.count()).select_from(table).where(which)
            count = connection.execute(question).scalar_one()
            if not dry:
                connection.execute(sa.delete(table).where(which))
            return count

        pruned = Pruned(
            before=before,
            files=go(schema.files, schema.files.c.run.in_(old)),
            series=go(schema.series, schema.series.c.run.in_(old)),
            runs=go(schema.runs, functional),
        )
        if not dry:
            _drop_unused(connection)
    return pruned


def _drop_unused(connection: sa.Connection) -> None:
    """Environments, builds and cells that no run refers to any more."""
    for table, key, user in (
        (schema.environments, "fingerprint", schema.runs.c.fingerprint),
        (schema.builds, "id", schema.runs.c.build),
        (schema.cells, "id", schema.cell_results.c.cell),
    ):
        connection.execute(sa.delete(table).where(table.c[key].not_in(sa.select(user))))
