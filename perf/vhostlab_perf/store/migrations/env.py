# SPDX-License-Identifier: BSD-3-Clause
"""What Alembic runs: the revisions, on the connection and in the transaction that it is given."""

from __future__ import annotations

from alembic import context

from vhostlab_perf.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite alters a table by making it anew
    render_as_batch=True,
)
context.run_migrations()
