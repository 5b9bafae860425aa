# SPDX-License-Identifier: BSD-3-Clause
"""The first tables: runs, what they were made on and of, and what came out."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "builds",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("target", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("program", sa.String(), nullable=False),
        sa.Column("revision", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_builds")),
    )
    op.create_table(
        "cells",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("params", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cells")),
    )
    op.create_table(
        "environments",
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("accel", sa.String(), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("fingerprint", name=op.f("pk_environments")),
    )
    op.create_table(
        "runs",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("started", sa.String(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("suite", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("command", sa.Text(), nullable=False),
        sa.Column("build", sa.String(), nullable=False),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("timing", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["build"], ["builds.id"], name=op.f("fk_runs_build")),
        sa.ForeignKeyConstraint(
            ["fingerprint"], ["environments.fingerprint"], name=op.f("fk_runs_fingerprint")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
    )
    op.create_index(op.f("ix_runs_build"), "runs", ["build"], unique=False)
    op.create_index(op.f("ix_runs_started"), "runs", ["started"], unique=False)
    op.create_table(
        "cell_results",
        sa.Column("run", sa.String(), nullable=False),
        sa.Column("cell", sa.String(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("stage", sa.String(), nullable=False),
        sa.Column("started", sa.String(), nullable=False),
        sa.Column("steady", sa.String(), nullable=False),
        sa.Column("placement", sa.Text(), nullable=False),
        sa.Column("replay", sa.Text(), nullable=False),
        sa.Column("fio_file", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["cell"], ["cells.id"], name=op.f("fk_cell_results_cell")),
        sa.ForeignKeyConstraint(
            ["run"], ["runs.id"], name=op.f("fk_cell_results_run"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run", "cell", name=op.f("pk_cell_results")),
    )
    op.create_table(
        "files",
        sa.Column("run", sa.String(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run"], ["runs.id"], name=op.f("fk_files_run"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run", "path", name=op.f("pk_files")),
    )
    op.create_table(
        "guests",
        sa.Column("run", sa.String(), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("stage", sa.String(), nullable=False),
        sa.Column("argv", sa.JSON(), nullable=False),
        sa.Column("boot_seconds", sa.Double(), nullable=False),
        sa.Column("kernel", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run"], ["runs.id"], name=op.f("fk_guests_run"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run", "position", name=op.f("pk_guests")),
    )
    op.create_table(
        "left_out",
        sa.Column("run", sa.String(), nullable=False),
        sa.Column("cell", sa.String(), nullable=False),
        sa.Column("params", sa.JSON(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run"], ["runs.id"], name=op.f("fk_left_out_run"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run", "cell", name=op.f("pk_left_out")),
    )
    op.create_table(
        "queue_counters",
        sa.Column("run", sa.String(), nullable=False),
        sa.Column("stage", sa.String(), nullable=False),
        sa.Column("controller", sa.String(), nullable=False),
        sa.Column("queue", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("counter", sa.String(), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run"], ["runs.id"], name=op.f("fk_queue_counters_run"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint(
            "run", "stage", "controller", "queue", "counter", name=op.f("pk_queue_counters")
        ),
    )
    op.create_table(
        "scenarios",
        sa.Column("run", sa.String(), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("stage", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("replay", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run"], ["runs.id"], name=op.f("fk_scenarios_run"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run", "position", name=op.f("pk_scenarios")),
    )
    op.create_table(
        "checks",
        sa.Column("run", sa.String(), nullable=False),
        sa.Column("scenario", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("passed", sa.Boolean(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run", "scenario"],
            ["scenarios.run", "scenarios.position"],
            name=op.f("fk_checks_run_scenario"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("run", "scenario", "position", name=op.f("pk_checks")),
    )
    op.create_table(
        "latencies",
        sa.Column("run", sa.String(), nullable=False),
        sa.Column("cell", sa.String(), nullable=False),
        sa.Column("way", sa.String(), nullable=False),
        sa.Column("samples", sa.BigInteger(), nullable=False),
        sa.Column("min_ns", sa.BigInteger(), nullable=False),
        sa.Column("max_ns", sa.BigInteger(), nullable=False),
        sa.Column("mean_ns", sa.Double(), nullable=False),
        sa.Column("bins", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run", "cell"],
            ["cell_results.run", "cell_results.cell"],
            name=op.f("fk_latencies_run_cell"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("run", "cell", "way", name=op.f("pk_latencies")),
    )
    op.create_table(
        "measurements",
        sa.Column("run", sa.String(), nullable=False),
        sa.Column("cell", sa.String(), nullable=False),
        sa.Column("metric", sa.String(), nullable=False),
        sa.Column("unit", sa.String(), nullable=False),
        sa.Column("direction", sa.String(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run", "cell"],
            ["cell_results.run", "cell_results.cell"],
            name=op.f("fk_measurements_run_cell"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("run", "cell", "metric", name=op.f("pk_measurements")),
    )
    op.create_index(
        op.f("ix_measurements_cell_metric"), "measurements", ["cell", "metric"], unique=False
    )
    op.create_table(
        "scenario_measurements",
        sa.Column("run", sa.String(), nullable=False),
        sa.Column("scenario", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("metric", sa.String(), nullable=False),
        sa.Column("unit", sa.String(), nullable=False),
        sa.Column("direction", sa.String(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run", "scenario"],
            ["scenarios.run", "scenarios.position"],
            name=op.f("fk_scenario_measurements_run_scenario"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("run", "scenario", "metric", name=op.f("pk_scenario_measurements")),
    )
    op.create_table(
        "series",
        sa.Column("run", sa.String(), nullable=False),
        sa.Column("cell", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("points", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run", "cell"],
            ["cell_results.run", "cell_results.cell"],
            name=op.f("fk_series_run_cell"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("run", "cell", "name", name=op.f("pk_series")),
    )
