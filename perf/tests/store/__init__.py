# SPDX-License-Identifier: BSD-3-Clause
"""Tests of the results store, on SQLite and on a real PostgreSQL server."""
